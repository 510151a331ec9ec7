package host_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/strata-ci/strata/internal/runners/host"
	"github.com/strata-ci/strata/runner"
)

// build commits what a script leaves.
func build(t *testing.T, r *host.Runner, ref runner.SnapshotRef, sh string) {
	t.Helper()
	in := runner.ExecutorInput{
		Step: script(sh), StepID: "build-" + string(ref),
		Cache: runner.CacheDecision{Action: runner.MissBuildAs, Ref: ref},
	}
	if result, out, err := execute(t, r, in); err != nil || result.Snapshot != ref {
		t.Fatalf("build %s: got %+v, %q, %v", ref, result, out, err)
	}
}

func keep(t *testing.T, r *host.Runner, refs ...runner.SnapshotRef) []runner.KeptSnapshot {
	t.Helper()
	kept, err := r.KeepSnapshots(context.Background(), refs)
	if err != nil {
		t.Fatal(err)
	}
	return kept
}

// snapshots lists the snapshots of a state directory.
func snapshots(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "snapshots", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for i, path := range found {
		found[i] = filepath.Base(path)
	}
	return found
}

func TestCloseGivesUpWhatIsNotKept(t *testing.T) {
	dirs := newStateDirs()
	one := dirs.newRunner(t, 0)
	build(t, one, "ephemeral", "echo x > file")
	build(t, one, "kept", "echo x > file")
	keep(t, one, "kept")
	dir := dirs.dir(one)
	two := dirs.open(t, dir, 0)
	for _, want := range []string{"[ephemeral kept]", "[kept]"} {
		if err := two.Sweep(context.Background()); err != nil {
			t.Fatal(err)
		}
		if found := fmt.Sprint(snapshots(t, dir)); found != want {
			t.Errorf("after the sweep there are the snapshots %s, want %s", found, want)
		}
		if err := one.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if left := dirs.leftovers(one); len(left) != 1 {
		t.Errorf("there are %q, want the kept snapshot alone", left)
	}
}

func TestWithAnErrorNothingIsKept(t *testing.T) {
	dirs := newStateDirs()
	r := dirs.newRunner(t, 0)
	build(t, r, "one", "echo x > file")
	for _, missing := range []runner.SnapshotRef{"missing", "../snapshots/one", ""} {
		_, err := r.KeepSnapshots(context.Background(), []runner.SnapshotRef{"one", missing})
		wantKind(t, err, runner.KindSnapshot)
		wantKind(t, r.CheckSnapshot(context.Background(), "one", runner.CheckExists), runner.KindSnapshot)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := r.KeepSnapshots(ctx, []runner.SnapshotRef{"one"}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
	keep(t, r, "one", "one")
	// What was kept before stays kept.
	_, err := r.KeepSnapshots(context.Background(), []runner.SnapshotRef{"one", "missing"})
	wantKind(t, err, runner.KindSnapshot)
	if err := r.CheckSnapshot(context.Background(), "one", runner.CheckContents); err != nil {
		t.Error(err)
	}
}

func TestDamageOfTheRunnersOwnFilesIsFound(t *testing.T) {
	dirs := newStateDirs()
	for _, name := range []string{"kept.gob", "snapshot.gob", "baseline.gob", "workspace"} {
		for how, do := range map[string]func(path string) error{
			"removed": os.RemoveAll,
			"emptied": func(path string) error { return errors.Join(os.RemoveAll(path), os.WriteFile(path, nil, 0o600)) },
		} {
			r := dirs.newRunner(t, 0)
			build(t, r, "snap", "echo x > file")
			keep(t, r, "snap")
			if err := do(filepath.Join(dirs.dir(r), "snapshots", "snap", name)); err != nil {
				t.Fatal(err)
			}
			for _, depth := range []runner.CheckDepth{runner.CheckFiles, runner.CheckContents} {
				err := r.CheckSnapshot(context.Background(), "snap", depth)
				if err == nil {
					t.Errorf("%s was %s, and a check to depth %d finds nothing", name, how, depth)
				}
				wantKind(t, err, runner.KindSnapshot)
			}
		}
	}
}

// TestReapedUnderItsChildren starts steps from a snapshot that is reaped
// meanwhile: each has all of it or a clean error.
func TestReapedUnderItsChildren(t *testing.T) {
	const files, children = 100, 8
	dirs := newStateDirs()
	r := dirs.newRunner(t, 0)
	other := dirs.open(t, dirs.dir(r), 0)
	for round := range 8 {
		ref := runner.SnapshotRef(fmt.Sprint("snap", round))
		build(t, r, ref, fmt.Sprintf("i=0; while [ $i -lt %d ]; do echo x > f$i; i=$((i+1)); done", files))
		keep(t, r, ref)
		var wg sync.WaitGroup
		done := make(chan struct{}, children)
		for i := range children {
			// Half of them have another capture, and only the parent's changes.
			in := runner.ExecutorInput{Step: script("ls | wc -l | tr -d ' '"), Parent: ref, StepID: fmt.Sprint("child", i)}
			if i%2 == 0 {
				in.Workspace = emptyCapture{}
			}
			wg.Go(func() {
				defer func() { done <- struct{}{} }()
				result, out, err := execute(t, r, in)
				if err != nil {
					wantKind(t, err, runner.KindSnapshot)
				} else if want := fmt.Sprintln(files); !result.Passed() || out != want {
					t.Errorf("a child sees %q files, want %q or an error", out, want)
				}
			})
		}
		wg.Go(func() {
			// At another moment in each round, also after all are done.
			for len(done) < children && copied(t, dirs.dir(r)) < round*files*children/8 {
				runtime.Gosched()
			}
			if err := other.ReapSnapshots(context.Background(), []runner.SnapshotRef{ref}); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
	}
	if left := dirs.leftovers(r); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// copied counts the files that children have got by now.
func copied(t *testing.T, dir string) int {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "steps", "child*", "workspace", "f*"))
	if err != nil {
		t.Error(err)
	}
	return len(found)
}

// emptyCapture is a capture without files.
type emptyCapture struct{}

func (emptyCapture) ID() string                           { return "empty" }
func (emptyCapture) Layers() []string                     { return nil }
func (emptyCapture) CopyTo(context.Context, string) error { return nil }

func TestIdentityIsOfTheStepsTools(t *testing.T) {
	tools, other := t.TempDir(), t.TempDir()
	t.Setenv("PATH", tools)
	identify := func(env map[string]string) map[string]string {
		step := script("true")
		step.Env = env
		parts, err := newRunner(t).IdentifyImage(context.Background(), step)
		if err != nil {
			t.Fatal(err)
		}
		return parts
	}
	first := identify(nil)
	if first["PATH"] != tools || first[tools] == "" || first["system"] == "" {
		t.Errorf("the parts are %v, want PATH, %s and the system", first, tools)
	}
	if err := os.WriteFile(filepath.Join(tools, "tool"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	second := identify(nil)
	if second[tools] == first[tools] {
		t.Error("a new tool in a directory of PATH changes nothing")
	}
	t.Setenv("UNRELATED", "x")
	if third := identify(nil); !maps.Equal(second, third) {
		t.Errorf("an unrelated variable changes %v into %v", second, third)
	}
	own := identify(map[string]string{"PATH": other + string(filepath.ListSeparator) + "node_modules/.bin"})
	if _, ok := own[tools]; ok || own[other] == "" {
		t.Errorf("with a PATH of the step's own the parts are %v", own)
	}
}
