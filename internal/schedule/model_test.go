package schedule_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/strata-ci/strata/internal/schedule"
)

// model is the scheduler written for clarity: it looks at every step each time.
type model struct {
	steps   []schedule.Step
	opts    schedule.Options
	status  []string // "", running, stopping, passed, failed, dropped
	closed  bool
	actions []schedule.Action
}

func (m *model) act(kind schedule.ActionKind, step, cause int) {
	m.actions = append(m.actions, schedule.Action{Kind: kind, Step: step, Cause: cause})
}

// dependsOn reports whether there is a way from step down to ancestor.
func (m *model) dependsOn(step, ancestor int) bool {
	return slices.ContainsFunc(m.steps[step].Deps, func(d int) bool {
		return d == ancestor || m.dependsOn(d, ancestor)
	})
}

func (m *model) path(step int) float64 {
	longest := 0.0
	for i, s := range m.steps {
		if slices.Contains(s.Deps, step) {
			longest = max(longest, m.path(i))
		}
	}
	return longest + m.steps[step].Weight
}

func (m *model) isReady(step int) bool {
	return m.status[step] == "" && !slices.ContainsFunc(m.steps[step].Deps, func(d int) bool { return m.status[d] != "passed" })
}

func (m *model) active() (steps []int) {
	for i, s := range m.status {
		if s == "running" || s == "stopping" {
			steps = append(steps, i)
		}
	}
	return steps
}

func (m *model) startReady() {
	for !m.closed && len(m.active()) < m.opts.Jobs {
		best := -1
		for i := range m.steps {
			if m.isReady(i) && (best < 0 || m.path(i) > m.path(best)) {
				best = i
			}
		}
		if best < 0 {
			return
		}
		m.status[best] = "running"
		m.act(start, best, none)
	}
}

func (m *model) close(kind schedule.ActionKind, cause int) {
	m.closed = true
	for i, s := range m.status {
		switch s {
		case "running":
			m.status[i] = "stopping"
			m.act(stop, i, cause)
		case "":
			m.status[i] = "dropped"
			m.act(kind, i, cause)
		}
	}
}

func (m *model) finished(step int, o schedule.Outcome) {
	m.status[step] = "failed"
	if o == schedule.Passed {
		m.status[step] = "passed"
	}
	if o != schedule.Passed && !m.closed {
		if !m.opts.KeepGoing {
			m.close(skip, step)
		}
		for i, s := range m.status {
			if s == "" && m.dependsOn(i, step) {
				m.status[i] = "dropped"
				m.act(skip, i, step)
			}
		}
	}
	m.startReady()
}

func drawSteps(t *rapid.T) []schedule.Step {
	steps := make([]schedule.Step, rapid.IntRange(0, 12).Draw(t, "steps"))
	names := rapid.Permutation(indexes(len(steps))).Draw(t, "definition order")
	for i := range steps {
		step := &steps[names[i]]
		step.Weight = float64(rapid.IntRange(1, 4).Draw(t, "weight"))
		if i > 0 {
			step.Deps = rapid.SliceOfN(rapid.SampledFrom(names[:i]), 0, 3).Draw(t, "deps")
		}
	}
	return steps
}

func indexes(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// TestAgainstModel runs random graphs to random ends. The model shares no code
// with the scheduler, and the invariants are checked without the model.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		steps := drawSteps(t)
		opts := schedule.Options{Jobs: rapid.IntRange(1, 4).Draw(t, "jobs"), KeepGoing: rapid.Bool().Draw(t, "keep going")}
		s, err := schedule.New(steps, opts)
		if err != nil {
			t.Fatal(err)
		}
		m := &model{steps: steps, opts: opts, status: make([]string, len(steps))}
		inv := newInvariants(steps, opts)

		m.startReady()
		inv.check(t, m, s.Start())
		for len(m.active()) > 0 {
			if rapid.IntRange(0, 15).Draw(t, "user cancels if 0") == 0 {
				m.close(cancel, none)
				inv.cancelled = true
				inv.check(t, m, s.Cancel())
			}
			step := rapid.SampledFrom(m.active()).Draw(t, "ends")
			outcome := rapid.SampledFrom([]schedule.Outcome{
				schedule.Passed, schedule.Passed, schedule.Passed,
				schedule.Failed, schedule.TimedOut, schedule.InfraFailed, schedule.Cancelled,
			}).Draw(t, "outcome")
			inv.finished(step, outcome)
			m.finished(step, outcome)
			inv.check(t, m, s.Finished(step, outcome))
			if s.Done() != (inv.left == 0) {
				t.Fatalf("Done is %v with %d steps left", s.Done(), inv.left)
			}
		}
		if inv.left != 0 {
			t.Fatalf("nothing runs and %d steps have not ended", inv.left)
		}
	})
}

// invariants holds what every run promises.
type invariants struct {
	model
	ends      []int // how often each step has ended
	left      int
	running   int
	failures  []int // steps that did not pass, in order
	cancelled bool
}

func newInvariants(steps []schedule.Step, opts schedule.Options) *invariants {
	return &invariants{
		model: model{steps: steps, opts: opts, status: make([]string, len(steps))},
		ends:  make([]int, len(steps)), left: len(steps),
	}
}

func (inv *invariants) end(t *rapid.T, step int) {
	inv.ends[step]++
	inv.left--
	if inv.ends[step] > 1 {
		t.Fatalf("step %d ended %d times", step, inv.ends[step])
	}
}

func (inv *invariants) finished(step int, o schedule.Outcome) {
	inv.ends[step]++
	inv.left--
	inv.running--
	inv.status[step] = "passed"
	if o != schedule.Passed {
		inv.status[step] = "failed"
		inv.failures = append(inv.failures, step)
	}
}

func (inv *invariants) check(t *rapid.T, m *model, got []schedule.Action) {
	if !slices.Equal(got, m.actions) {
		t.Fatalf("the actions are %v where the model has %v", got, m.actions)
	}
	m.actions = nil
	for _, a := range got {
		switch a.Kind {
		case start:
			inv.running++
			if inv.ends[a.Step] > 0 || !inv.isReady(a.Step) {
				t.Fatalf("step %d starts before all that it depends on has passed, or twice", a.Step)
			}
			inv.status[a.Step] = "running"
		case skip:
			inv.end(t, a.Step)
			inv.checkCause(t, a)
		case cancel:
			inv.end(t, a.Step)
			if !inv.cancelled {
				t.Fatalf("step %d is cancelled and nobody asked", a.Step)
			}
		case stop:
			if a.Cause != none {
				inv.checkCause(t, a)
			}
		}
	}
	if inv.running > inv.opts.Jobs {
		t.Fatalf("%d steps run at once, of at most %d", inv.running, inv.opts.Jobs)
	}
}

func (inv *invariants) checkCause(t *rapid.T, a schedule.Action) {
	if !slices.Contains(inv.failures, a.Cause) {
		t.Fatalf("%v step %d because of %d, which did not fail", a.Kind, a.Step, a.Cause)
	}
	if inv.opts.KeepGoing && !inv.dependsOn(a.Step, a.Cause) {
		t.Fatalf("%v step %d because of %d, which it does not depend on", a.Kind, a.Step, a.Cause)
	}
	if !inv.opts.KeepGoing && a.Cause != inv.failures[0] {
		t.Fatalf("%v step %d because of %d, and %d failed first", a.Kind, a.Step, a.Cause, inv.failures[0])
	}
}

// TestSameEventsGiveSameActions runs one graph twice.
func TestSameEventsGiveSameActions(t *testing.T) {
	steps := randomGraph(2000)
	var runs [2][]schedule.Action
	for i := range runs {
		runs[i] = runAll(t, steps, schedule.Options{Jobs: 7, KeepGoing: true}, 50)
	}
	if !slices.Equal(runs[0], runs[1]) {
		t.Error("two runs of one graph differ")
	}
}
