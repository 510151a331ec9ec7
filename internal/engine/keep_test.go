package engine_test

import (
	"context"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/strata-ci/strata/internal/engine"
	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// kept returns by what commands the kept snapshots were made, sorted.
func (d *depot) kept() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []string
	for _, s := range d.snapshots {
		if s.kept {
			list = append(list, strings.TrimSpace(s.made))
		}
	}
	slices.Sort(list)
	return list
}

func (f *shop) wantKept(want ...string) {
	f.Helper()
	if got := f.kept(); !slices.Equal(got, want) {
		f.Errorf("kept are %q, want %q", got, want)
	}
}

func TestFailuresAreKeptAndNeverUsed(t *testing.T) {
	f := newShop(t)
	f.failures.Count = 2
	f.steps = map[string]func(context.Context, *runner.StepContext, runner.ExecutorInput) (runner.StepResult, error){
		"fail": exits(1), "fail 1": exits(1), "fail 2": exits(1),
		"slow": func(context.Context, *runner.StepContext, runner.ExecutorInput) (runner.StepResult, error) {
			return runner.StepResult{TimedOut: true}, nil
		},
	}
	steps := []pipeline.Step{step("build", "compile", forever), step("test", "fail", in("build"), forever)}
	f.want(journal.Failed, steps, "build test")
	f.wantKept("compile", "compile fail")
	_, events := f.want(journal.Failed, steps, "test")
	if reason := reasonOf(events, "test"); reason != "failed_last_time" {
		t.Errorf("the reason is %q", reason)
	}
	for command, status := range map[string]journal.Status{"fail 1": journal.Failed, "slow": journal.TimedOut} {
		steps[1].Command.Shell = command
		f.want(status, steps, "test")
	}
	f.wantKept("compile", "compile fail 1", "compile slow") // the two newest failures
	f.ahead = 2 * time.Hour
	f.want(journal.Passed, steps[:1], "")
	f.wantKept("compile")
	f.wantNothingHeld()
}

func TestEachRunnerReapsItsOwn(t *testing.T) {
	f := newShop(t)
	other := newDepot("other")
	f.runners = append(f.runners, other)
	on := func(s *pipeline.Step) { s.Runner = "other" }
	steps := []pipeline.Step{
		step("a", "a"), step("a2", "a2", in("a")), step("k", "k", forever),
		step("b", "b", on), step("b2", "b2", in("b"), on), step("l", "l", forever, on),
	}
	ends, _ := f.want(journal.Passed, steps, "a a2 k")
	f.wantKept("k")
	f.wantNothingHeld()
	if kept := other.kept(); len(other.snapshots) != 1 || !slices.Equal(kept, []string{"l"}) {
		t.Errorf("the other runner has %v", kept)
	}
	for d, step := range map[*depot]string{f.depot: "a", other: "b"} {
		if want := []runner.SnapshotRef{runner.SnapshotRef(ends[step].Snapshot)}; !slices.Equal(d.reaped, want) {
			t.Errorf("the runner %s was to reap %q, want %q", d.name, d.reaped, want)
		}
	}
}

// TestResultThatCannotBeKept costs the run nothing, and others are kept.
func TestResultThatCannotBeKept(t *testing.T) {
	f := newShop(t)
	var bad runner.SnapshotRef
	f.keepFault = func(refs []runner.SnapshotRef) error {
		for _, ref := range refs {
			if strings.HasSuffix(string(ref), ".b") {
				bad = ref
				return &runner.InfraError{Op: "keep " + string(ref), Kind: runner.KindDiskFull, Err: syscall.ENOSPC}
			}
		}
		return nil
	}
	steps := []pipeline.Step{step("a", "a", forever), step("b", "b", forever), step("c", "c", forever), step("child", "d", in("b"))}
	result, _, _ := f.run(t.Context(), &pipeline.Pipeline{Steps: steps}, nil)
	f.wantStatus(result.Status, journal.Passed)
	if len(result.Notes) != 1 || !strings.Contains(result.Notes[0].Error(), "keep what b has left") {
		t.Errorf("the notes are %v", result.Notes)
	}
	f.wantTook("a b c child")
	f.wantKept("a", "c")
	if f.snapshots[bad] != nil {
		t.Error("the snapshot that could not be kept is left")
	}
	f.keepFault = nil
	_, events := f.want(journal.Passed, steps, "b child")
	if reason := reasonOf(events, "b"); reason != "not_kept" {
		t.Errorf("the reason is %q", reason)
	}
	f.want(journal.Passed, steps, "child")
	f.wantNothingHeld()
}

func TestFullDiskIsNotToldForEachStep(t *testing.T) {
	f := newShop(t)
	f.keepFault = func(refs []runner.SnapshotRef) error { return syscall.ENOSPC }
	var steps []pipeline.Step
	for _, name := range strings.Fields("a b c d e f g h i j k l m") {
		steps = append(steps, step(name, name, forever))
	}
	result, _, _ := f.run(t.Context(), &pipeline.Pipeline{Steps: steps}, nil)
	f.wantStatus(result.Status, journal.Passed)
	if n := len(result.Notes); n == 0 || n > 6 {
		t.Errorf("%d notes", n)
	}
	f.wantNothingHeld()
}

// TestImpatientUser: the second Ctrl-C ends the wait for the disk.
func TestImpatientUser(t *testing.T) {
	f := newShop(t)
	kill := make(chan struct{})
	keeping := make(chan struct{})
	f.keepFault = func([]runner.SnapshotRef) error {
		close(keeping)
		<-kill
		return context.Canceled
	}
	steps := []pipeline.Step{step("a", "a", forever), step("b", "b", after("a"))}
	ctx, cancel := context.WithCancel(t.Context())
	f.steps = map[string]func(context.Context, *runner.StepContext, runner.ExecutorInput) (runner.StepResult, error){
		"b": func(ctx context.Context, _ *runner.StepContext, _ runner.ExecutorInput) (runner.StepResult, error) {
			<-keeping
			cancel()
			<-ctx.Done()
			return runner.StepResult{}, ctx.Err()
		},
	}
	result, ends, _ := f.run(ctx, &pipeline.Pipeline{Steps: steps}, func(r *engine.Request) {
		r.Kill = kill
		r.Watch = func(run *journal.Run) error {
			for item := range run.Follow(context.Background(), journal.FollowOptions{}) {
				if item.Event != nil && item.Event.Type == journal.RunFinished {
					close(kill)
				}
			}
			return nil
		}
	})
	f.wantStatus(result.Status, journal.Cancelled)
	f.wantStatus(ends["a"].Status, journal.Passed)
	if len(result.Notes) > 0 {
		t.Errorf("who did not want to wait is told %v", result.Notes)
	}
	f.wantTook("a b")
	f.wantKept()
	f.wantNothingHeld()
	f.keepFault, f.steps = nil, nil
	f.want(journal.Passed, steps, "a b")
}
