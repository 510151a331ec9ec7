//go:build linux

package container

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/strata-ci/strata/internal/sandbox"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

func TestMain(m *testing.M) {
	if sandbox.IsCell(os.Args) {
		sandbox.CellMain(os.Args)
	}
	os.Exit(m.Run())
}

func TestSmoke(t *testing.T) {
	r, err := New(Options{StateDir: t.TempDir(), Private: []string{"/root"}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var out bytes.Buffer
	sc := &runner.StepContext{Stdout: &out, Stderr: &out, Notice: func(string) {}}
	var parent runner.SnapshotRef
	for i, cmd := range []string{
		"id; pwd; ls -la / /dev /root /workspace; cat /proc/mounts; grep -E 'Cap|Sec|NoNew' /proc/self/status; echo hi > a; echo b > /etc/newfile; rm /etc/hostname; ps ax",
		"cat a /etc/newfile; ls /etc/hostname; exit 3",
	} {
		ref := runner.SnapshotRef(fmt.Sprintf("s%d", i))
		res, err := r.Execute(context.Background(), sc, runner.ExecutorInput{
			Step: pipeline.Step{Command: pipeline.Command{Shell: cmd}}, RunID: "r", StepID: fmt.Sprint("x", i), Parent: parent,
			Cache: runner.CacheDecision{Action: runner.MissBuildAs, Ref: ref, Ephemeral: true},
		})
		parent = ref
		t.Logf("%+v %v\n%s", res, err, out.String())
		out.Reset()
	}
}

func BenchmarkChain(b *testing.B) {
	r, err := New(Options{StateDir: b.TempDir(), Private: []string{"/root"}})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	var out bytes.Buffer
	sc := &runner.StepContext{Stdout: &out, Stderr: &out, Notice: func(string) {}}
	var parent runner.SnapshotRef
	n := 0
	for b.Loop() {
		n++
		ref := runner.SnapshotRef(fmt.Sprintf("s%d", n))
		res, err := r.Execute(context.Background(), sc, runner.ExecutorInput{
			Step: pipeline.Step{Command: pipeline.Command{Args: []string{"true"}}}, RunID: "r", StepID: fmt.Sprint("x", n), Parent: parent,
			Cache: runner.CacheDecision{Action: runner.MissBuildAs, Ref: ref, Ephemeral: true},
		})
		if err != nil || !res.Passed() {
			b.Fatal(res, err, out.String())
		}
		parent = ref
	}
}
