//go:build linux

package container

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/strata-ci/strata/internal/records"
	"github.com/strata-ci/strata/internal/sandbox"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
	"github.com/strata-ci/strata/runner/runnertest"
)

func TestMain(m *testing.M) {
	if sandbox.IsCell(os.Args) {
		sandbox.CellMain(os.Args)
	}
	os.Exit(m.Run())
}

func TestConformance(t *testing.T) {
	t.Run("overlay", func(t *testing.T) {
		props := properties(t)
		props.Root = "/opt"
		conform(t, Options{}, props)
	})
	t.Run("copies", func(t *testing.T) {
		props := properties(t)
		props.Root = "/mnt" // system directories cannot be written to
		conform(t, Options{ForceCopy: true}, props)
	})
}

func conform(t *testing.T, opts Options, props runnertest.Properties) {
	runnertest.Run(t, func(t testing.TB, grace time.Duration) runner.StepRunner {
		opts := opts
		opts.StateDir, opts.Grace = t.TempDir(), grace
		return open(t, opts)
	}, props)
}

// open opens a runner as a process of its own does: with records that it has
// opened itself.
func open(t testing.TB, opts Options) *Runner {
	t.Helper()
	opts.Records = openRecords(t, opts.StateDir)
	r, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if r.store != nil {
			end(t, r)
		}
	})
	return r
}

// end closes a runner before the test ends.
func end(t testing.TB, r *Runner) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Errorf("close the runner: %v", err)
	}
	r.store = nil
}

func openRecords(t testing.TB, state string) *records.DB {
	t.Helper()
	db, err := records.Open(filepath.Join(state, "records"), records.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func properties(t *testing.T) runnertest.Properties {
	return runnertest.Properties{
		Signals: true, Daemons: true, Snapshots: true,
		Modes: true, Symlinks: true, HardLinks: true, FIFOs: true,
		Leftovers: func(r runner.StepRunner) []string { return r.(*Runner).leftovers(t) },
		Usage: func(r runner.StepRunner) int64 {
			usage, err := r.(*Runner).store.Usage()
			if err != nil {
				t.Error(err)
			}
			return int64(usage)
		},
	}
}

// leftovers lists the forks that still exist.
func (r *Runner) leftovers(t *testing.T) []string {
	if err := r.store.Wait(); err != nil {
		t.Error(err)
	}
	left, err := filepath.Glob(filepath.Join(r.opts.StateDir, "live", "*", "active", "*"))
	if err != nil {
		t.Error(err)
	}
	return left
}

func BenchmarkChain(b *testing.B) {
	r := open(b, Options{StateDir: b.TempDir(), Private: []string{"/root"}})
	var out bytes.Buffer
	sc := &runner.StepContext{Stdout: &out, Stderr: &out, Notice: func(string) {}}
	var parent runner.SnapshotRef
	n := 0
	for b.Loop() {
		n++
		ref := runner.SnapshotRef(fmt.Sprintf("s%d", n))
		res, err := r.Execute(context.Background(), sc, runner.ExecutorInput{
			Step: pipeline.Step{Command: pipeline.Command{Args: []string{"true"}}}, RunID: "r", StepID: fmt.Sprint("x", n), Parent: parent,
			Cache: runner.CacheDecision{Action: runner.MissBuildAs, Ref: ref},
		})
		if err != nil || !res.Passed() {
			b.Fatal(res, err, out.String())
		}
		parent = ref
	}
}
