//go:build linux

package container

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/strata-ci/strata/runner"
)

// TestKeptSnapshots is a run, and another one by another process that starts
// from what the first has kept.
func TestKeptSnapshots(t *testing.T) {
	inBoth(t, func(t *testing.T, opts Options) {
		ctx := context.Background()
		opts.StateDir = t.TempDir()
		one := newLab(t, opts)
		one.must("echo 1 > file; mkdir closed; echo 2 > closed/file; chmod 0 closed/file closed; echo 3 > /root/file", commitAs("parent"))
		one.must("true", from("parent"), commitAs("child"))
		kept, err := one.runner.KeepSnapshots(ctx, []runner.SnapshotRef{"child"})
		if err != nil || len(kept) != 1 || kept[0].Ref != "child" || len(kept[0].Parts) == 0 {
			t.Fatalf("kept %v, %v", kept, err)
		}
		end(t, one.runner)
		two := newLab(t, opts)
		for _, depth := range []runner.CheckDepth{runner.CheckExists, runner.CheckFiles, runner.CheckContents} {
			if err := two.runner.CheckSnapshot(ctx, "child", depth); err != nil {
				t.Error(err)
			}
		}
		if out := two.must("cat file closed/file /root/file; stat -c %a closed closed/file", from("child")); out != "1\n2\n3\n0\n0\n" {
			t.Errorf("the child sees %q", out)
		}
		_, _, err = two.sh("true", from("parent"))
		wantSnapshotFault(t, err)
		if err := two.runner.ReapSnapshots(ctx, []runner.SnapshotRef{"child", "parent"}); err != nil {
			t.Error(err)
		}
		wantSnapshotFault(t, two.runner.CheckSnapshot(ctx, "child", runner.CheckExists))
		left, err := filepath.Glob(filepath.Join(opts.StateDir, "layers", "*"))
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
}

func wantSnapshotFault(t *testing.T, err error) {
	t.Helper()
	var infra *runner.InfraError
	if !errors.As(err, &infra) || infra.Kind != runner.KindSnapshot {
		t.Errorf("the error is %v", err)
	}
}

func TestKeptFailures(t *testing.T) {
	inBoth(t, func(t *testing.T, opts Options) {
		l := newLab(t, opts)
		keepFailed := func(action runner.CacheAction, ref runner.SnapshotRef) func(*runner.ExecutorInput) {
			return func(in *runner.ExecutorInput) {
				in.Cache = runner.CacheDecision{Action: action, Ref: ref, KeepFailed: true}
			}
		}
		for name, script := range map[runner.SnapshotRef]string{"exit": "echo x > file; exit 3", "signal": "echo x > file; kill -KILL $$"} {
			_, result, err := l.sh(script, keepFailed(runner.MissBuildAs, name))
			if err != nil || result.Passed() || result.Snapshot != name {
				t.Errorf("%s: %+v, %v", name, result, err)
			}
			if out := l.must("cat file", from(name)); out != "x\n" {
				t.Errorf("%s: it left %q", name, out)
			}
		}
		if _, result, err := l.sh("exit 3", keepFailed(runner.MissNoCommit, "alone")); err != nil || result.Snapshot != "alone" {
			t.Errorf("without a commit if it passes: %+v, %v", result, err)
		}
		if _, result, err := l.sh("true", keepFailed(runner.MissNoCommit, "none")); err != nil || result.Snapshot != "" {
			t.Errorf("a step that passed left %+v, %v", result, err)
		}
	})
}

// TestKnownMachine is a run of cached steps alone: nothing is started for it.
func TestKnownMachine(t *testing.T) {
	inBoth(t, func(t *testing.T, opts Options) {
		opts.StateDir = t.TempDir()
		first := newLab(t, opts)
		first.must("echo 1 > file", commitAs("kept"))
		if _, err := first.runner.KeepSnapshots(context.Background(), []runner.SnapshotRef{"kept"}); err != nil {
			t.Fatal(err)
		}
		end(t, first.runner)
		next := newLab(t, opts)
		if next.runner.Driver() != first.runner.Driver() || next.runner.SnapshotFormat() != first.runner.SnapshotFormat() {
			t.Errorf("the driver was %+v and is %+v", first.runner.Driver(), next.runner.Driver())
		}
		if err := next.runner.CheckSnapshot(context.Background(), "kept", runner.CheckFiles); err != nil {
			t.Error(err)
		}
		if err := next.runner.ReapSnapshots(context.Background(), []runner.SnapshotRef{"never-there"}); err != nil {
			t.Error(err)
		}
		if live, err := filepath.Glob(filepath.Join(opts.StateDir, "live", "run-*")); err != nil || len(live) > 0 {
			t.Errorf("it has made %v, %v", live, err)
		}
		if _, started := next.runner.machine.peek(); started {
			t.Error("a sandbox was started")
		}
		next.must("grep 1 file", from("kept"))
	})
}

// TestOtherMachines are changes after which it has to be found out again what
// the machine can do.
func TestOtherMachines(t *testing.T) {
	opts := Options{StateDir: t.TempDir()}
	known := func(opts Options) bool {
		l := newLab(t, opts)
		_, started := l.runner.machine.peek()
		end(t, l.runner)
		return !started
	}
	if known(opts) || !known(opts) {
		t.Fatal("the machine is not known after the first time alone")
	}
	copies := opts
	copies.ForceCopy = true
	if known(copies) || known(opts) {
		t.Error("what was found out for other options counts")
	}
	private := opts
	private.Private = []string{"/home"}
	if known(private) {
		t.Error("what was found out with other private directories counts")
	}
	file := probePath(opts.StateDir)
	for _, data := range []string{"", "{", `{"Machine":"","Driver":{"Name":"overlay"}}`, "[]"} {
		if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if known(opts) {
			t.Errorf("%q counts", data)
		}
	}
	if data, err := os.ReadFile(file); err != nil || !bytes.Contains(data, []byte("overlay")) {
		t.Errorf("the file holds %s, %v", data, err)
	}
}

func FuzzRecall(f *testing.F) {
	dir := f.TempDir()
	p, err := newProbe(Options{StateDir: dir})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("{}"))
	f.Add([]byte(`{"Machine":"` + p.machine + `","Driver":{"Name":"neither"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(p.path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if d, ok := p.recall(); ok && d.Name != driverOverlay && d.Name != driverCopies {
			t.Errorf("recalled %+v", d)
		}
	})
}

// BenchmarkKnownMachine is what a run of cached steps alone takes.
func BenchmarkKnownMachine(b *testing.B) {
	opts := Options{StateDir: b.TempDir()}
	open(b, opts)
	opts.Records = openRecords(b, opts.StateDir)
	for b.Loop() {
		r, err := New(opts)
		if err != nil {
			b.Fatal(err)
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
