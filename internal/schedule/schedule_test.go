package schedule_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-ci/strata/internal/schedule"
)

const (
	start  = schedule.Start
	stop   = schedule.Stop
	skip   = schedule.Skip
	cancel = schedule.Cancel
	none   = schedule.NoCause
)

func newState(t testing.TB, steps []schedule.Step, opts schedule.Options) *schedule.State {
	t.Helper()
	s, err := schedule.New(steps, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func check(t *testing.T, what string, got []schedule.Action, want ...schedule.Action) {
	t.Helper()
	if diff := cmp.Diff(want, append([]schedule.Action(nil), got...)); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

func deps(d ...int) schedule.Step { return schedule.Step{Deps: d} }

func TestLongestRemainingPathFirst(t *testing.T) {
	// 0 alone; 1 before the heavy 3; 2 before the light 4.
	steps := []schedule.Step{deps(), deps(), deps(), {Deps: []int{1}, Weight: 9}, {Deps: []int{2}, Weight: 2}}
	s := newState(t, steps, schedule.Options{Jobs: 1})
	check(t, "first", s.Start(), schedule.Action{Kind: start, Step: 1, Cause: none})
	check(t, "second", s.Finished(1, schedule.Passed), schedule.Action{Kind: start, Step: 3, Cause: none})
	check(t, "third", s.Finished(3, schedule.Passed), schedule.Action{Kind: start, Step: 2, Cause: none})
	check(t, "fourth", s.Finished(2, schedule.Passed), schedule.Action{Kind: start, Step: 4, Cause: none})
	check(t, "fifth", s.Finished(4, schedule.Passed), schedule.Action{Kind: start, Step: 0, Cause: none})
	check(t, "end", s.Finished(0, schedule.Passed))
	if !s.Done() {
		t.Error("all steps have ended and the run is not done")
	}
}

func TestEqualPathsKeepDefinitionOrder(t *testing.T) {
	s := newState(t, []schedule.Step{deps(), {Weight: -3}, {Weight: 1}}, schedule.Options{Jobs: 2})
	check(t, "start", s.Start(), schedule.Action{Kind: start, Step: 0, Cause: none}, schedule.Action{Kind: start, Step: 1, Cause: none})
	check(t, "next", s.Finished(1, schedule.Passed), schedule.Action{Kind: start, Step: 2, Cause: none})
}

func TestFirstFailureStopsTheRun(t *testing.T) {
	// 0 and 1 run; 2 waits for 0, 3 for 2, 4 for nothing but a free place.
	steps := []schedule.Step{{Weight: 5}, {Weight: 9}, deps(0), deps(2), deps()}
	s := newState(t, steps, schedule.Options{Jobs: 2})
	s.Start()
	check(t, "failure", s.Finished(0, schedule.TimedOut),
		schedule.Action{Kind: stop, Step: 1, Cause: 0},
		schedule.Action{Kind: skip, Step: 2, Cause: 0},
		schedule.Action{Kind: skip, Step: 3, Cause: 0},
		schedule.Action{Kind: skip, Step: 4, Cause: 0})
	if s.Done() {
		t.Error("done while a step still has to stop")
	}
	check(t, "user's wish after it", s.Cancel())
	check(t, "the stopped step's end", s.Finished(1, schedule.Cancelled))
	if !s.Done() {
		t.Error("all steps have ended and the run is not done")
	}
}

func TestStoppedStepThatFailsIsNoNewCause(t *testing.T) {
	s := newState(t, []schedule.Step{deps(), deps(), deps(1)}, schedule.Options{Jobs: 2})
	s.Start()
	s.Finished(0, schedule.Failed)
	check(t, "failure of a stopped step", s.Finished(1, schedule.Failed))
}

func TestKeepGoingSkipsOnlyDependents(t *testing.T) {
	// 0 fails. 1, 2 and 3 depend on it through one, two and three edges; 4 does not.
	steps := []schedule.Step{deps(), deps(0), deps(1), deps(2, 4), deps()}
	s := newState(t, steps, schedule.Options{Jobs: 1, KeepGoing: true})
	s.Start()
	check(t, "failure", s.Finished(0, schedule.InfraFailed),
		schedule.Action{Kind: skip, Step: 1, Cause: 0},
		schedule.Action{Kind: skip, Step: 2, Cause: 0},
		schedule.Action{Kind: skip, Step: 3, Cause: 0},
		schedule.Action{Kind: start, Step: 4, Cause: none})
	check(t, "end", s.Finished(4, schedule.Failed))
	if !s.Done() {
		t.Error("all steps have ended and the run is not done")
	}
}

func TestCancel(t *testing.T) {
	s := newState(t, []schedule.Step{deps(), deps(), deps(0)}, schedule.Options{Jobs: 1, KeepGoing: true})
	s.Start()
	check(t, "cancel", s.Cancel(),
		schedule.Action{Kind: stop, Step: 0, Cause: none},
		schedule.Action{Kind: cancel, Step: 1, Cause: none},
		schedule.Action{Kind: cancel, Step: 2, Cause: none})
	check(t, "second cancel", s.Cancel())
	check(t, "a step that passed nevertheless", s.Finished(0, schedule.Passed))
	if !s.Done() {
		t.Error("all steps have ended and the run is not done")
	}
}

func TestCancelBeforeStart(t *testing.T) {
	s := newState(t, []schedule.Step{deps()}, schedule.Options{Jobs: 1})
	check(t, "cancel", s.Cancel(), schedule.Action{Kind: cancel, Step: 0, Cause: none})
	check(t, "start", s.Start())
}

func TestNoSteps(t *testing.T) {
	s := newState(t, nil, schedule.Options{Jobs: 1})
	check(t, "start", s.Start())
	if !s.Done() {
		t.Error("a run without steps is not done")
	}
}

func TestBadInput(t *testing.T) {
	for name, steps := range map[string][]schedule.Step{
		"beyond the end": {deps(1)},
		"negative":       {deps(-1)},
	} {
		if _, err := schedule.New(steps, schedule.Options{Jobs: 1}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := schedule.New(nil, schedule.Options{}); err == nil {
		t.Error("no jobs: no error")
	}
}

func TestCycle(t *testing.T) {
	tests := []struct {
		name  string
		steps []schedule.Step
		want  []int
	}{
		{"itself", []schedule.Step{deps(), deps(0, 1)}, []int{1}},
		{"behind a tail", []schedule.Step{deps(1), deps(0, 2), deps(3), deps(4), deps(2)}, []int{0, 1}},
		{"of three", []schedule.Step{deps(1), deps(2), deps(3), deps(1)}, []int{1, 2, 3}},
	}
	for _, tt := range tests {
		_, err := schedule.New(tt.steps, schedule.Options{Jobs: 1})
		var cycle *schedule.CycleError
		if !errors.As(err, &cycle) {
			t.Errorf("%s: the error is %v", tt.name, err)
			continue
		}
		if diff := cmp.Diff(tt.want, cycle.Steps); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestFinishedTwicePanics(t *testing.T) {
	s := newState(t, []schedule.Step{deps()}, schedule.Options{Jobs: 1})
	s.Start()
	s.Finished(0, schedule.Passed)
	defer func() {
		if recover() == nil {
			t.Error("a step ended twice without a panic")
		}
	}()
	s.Finished(0, schedule.Passed)
}

func TestDeepAndWide(t *testing.T) {
	for name, steps := range map[string][]schedule.Step{"chain": chain(100_000), "fan": fan(100_000), "grid": grid(100_000)} {
		for _, failEvery := range []int{0, 3} {
			ends := make([]int, len(steps))
			for _, a := range runAll(t, steps, schedule.Options{Jobs: 8, KeepGoing: true}, failEvery) {
				ends[a.Step]++
			}
			for step, n := range ends {
				if n != 1 {
					t.Fatalf("%s: step %d started or was skipped %d times", name, step, n)
				}
			}
		}
	}
}
