// Package schedule decides which step of a run starts when.
//
// In: the graph of steps, and how each one that was started has ended. Out:
// actions for the caller to carry out. It is a pure state machine: the same
// events give the same actions. It never runs anything, reads a clock or knows
// what a step is.
package schedule

import (
	"container/heap"
	"fmt"
	"math"
	"slices"
)

// Step is one node of the graph. Steps are named by their index.
type Step struct {
	// Deps are the steps that must pass first.
	Deps []int
	// Weight is the expected duration, in any unit that is the same for all
	// steps. What is not a positive number counts as 1.
	Weight float64
}

// Options are the rules of a run.
type Options struct {
	// Jobs is the most steps that run at once, at least 1.
	Jobs int
	// KeepGoing lets steps that do not depend on a failed one run on.
	KeepGoing bool
}

// Outcome is how a step that was started has ended.
type Outcome int

// The outcomes. A step whose earlier result was used has Passed.
const (
	Passed Outcome = iota
	Failed
	TimedOut
	InfraFailed
	Cancelled // it was told to stop, and did
)

// ActionKind is what to do with a step.
type ActionKind int

// The kinds of actions.
const (
	Start  ActionKind = iota // run it, and call Finished when it has ended
	Stop                     // it runs: end it; Finished is still to be called
	Skip                     // it never starts, because Cause failed
	Cancel                   // it never starts, because Cancel was called
)

// String returns the kind in lower case.
func (k ActionKind) String() string {
	return [...]string{"start", "stop", "skip", "cancel"}[k]
}

// NoCause is the Cause of an action that no step is to blame for.
const NoCause = -1

// Action is one thing for the caller to do.
type Action struct {
	Kind ActionKind
	Step int
	// Cause is the step that is to blame for a Skip or Stop: one that was
	// started and did not pass, never one that was skipped. Otherwise NoCause.
	Cause int
}

// phase is how far a step has come.
type phase uint8

const (
	waiting phase = iota
	running
	stopping // running, and told to stop
	ended
)

// State is a run in progress. It is not safe for concurrent use. The slices
// that its methods return are valid until the next call.
type State struct {
	opts       Options
	dependents graph
	missing    []int32 // for each step: dependencies that have not passed yet
	phases     []phase
	ready      queue
	running    int
	left       int  // steps that have not ended
	closed     bool // nothing starts any more
	actions    []Action
}

// New returns the state before the first step. An index that does not exist, a
// cycle (a *CycleError) and less than one job are errors.
func New(steps []Step, opts Options) (*State, error) {
	if opts.Jobs < 1 {
		return nil, fmt.Errorf("schedule: %d jobs are not enough to run a step", opts.Jobs)
	}
	dependents, missing, err := newGraph(steps)
	if err != nil {
		return nil, err
	}
	order, err := dependents.sort(steps, missing)
	if err != nil {
		return nil, err
	}
	s := &State{
		opts:       opts,
		dependents: dependents,
		missing:    missing,
		phases:     make([]phase, len(steps)),
		ready:      queue{path: longestPaths(steps, dependents, order)},
		left:       len(steps),
	}
	for step, n := range missing {
		if n == 0 {
			s.ready.steps = append(s.ready.steps, step)
		}
	}
	heap.Init(&s.ready)
	return s, nil
}

// longestPaths returns for each step the weight of the heaviest path from it,
// itself included, to a step that nothing depends on.
func longestPaths(steps []Step, dependents graph, order []int32) []float64 {
	path := make([]float64, len(steps))
	for _, step := range slices.Backward(order) {
		longest := 0.0
		for _, d := range dependents.of(int(step)) {
			longest = max(longest, path[d])
		}
		path[step] = longest + weight(steps[step])
	}
	return path
}

func weight(s Step) float64 {
	if s.Weight > 0 && !math.IsInf(s.Weight, 1) {
		return s.Weight
	}
	return 1
}

// Start begins the run.
func (s *State) Start() []Action {
	s.actions = s.actions[:0]
	s.startReady()
	return s.actions
}

// Finished says that a step, started before, has ended. The first one that did
// not pass stops the run unless it keeps going: what runs is stopped, what
// waits is skipped. Otherwise only what depends on it, through any distance,
// is skipped. How a step ends that was told to stop has no consequences.
//
// It panics if the step is not running.
func (s *State) Finished(step int, o Outcome) []Action {
	was := s.phases[step]
	if was != running && was != stopping {
		panic(fmt.Sprintf("schedule: step %d has finished and was not running", step))
	}
	s.actions = s.actions[:0]
	s.phases[step] = ended
	s.running--
	s.left--
	switch {
	case s.closed:
	case o == Passed:
		s.passed(step)
	case s.opts.KeepGoing:
		s.skipDependents(step)
	default:
		s.close(Skip, step)
	}
	s.startReady()
	return s.actions
}

// Cancel ends the run at the user's wish: what runs is stopped, and what waits
// is cancelled. Calling it again changes nothing.
func (s *State) Cancel() []Action {
	s.actions = s.actions[:0]
	s.close(Cancel, NoCause)
	return s.actions
}

// Done reports whether every step has ended.
func (s *State) Done() bool { return s.left == 0 }

func (s *State) startReady() {
	for s.running < s.opts.Jobs && s.ready.Len() > 0 {
		step := heap.Pop(&s.ready).(int)
		s.phases[step] = running
		s.running++
		s.act(Start, step, NoCause)
	}
}

func (s *State) passed(step int) {
	for _, d := range s.dependents.of(step) {
		s.missing[d]--
		if s.missing[d] == 0 {
			heap.Push(&s.ready, int(d))
		}
	}
}

// skipDependents skips what depends on cause, in the order of definition.
func (s *State) skipDependents(cause int) {
	reached := []int{cause}
	for i := 0; i < len(reached); i++ {
		for _, d := range s.dependents.of(reached[i]) {
			if s.phases[d] == waiting {
				s.drop(int(d))
				reached = append(reached, int(d))
			}
		}
	}
	skipped := reached[1:]
	slices.Sort(skipped)
	for _, step := range skipped {
		s.act(Skip, step, cause)
	}
}

// close stops what runs and ends what waits by an action of the given kind.
func (s *State) close(kind ActionKind, cause int) {
	s.closed = true
	s.ready.steps = nil
	for step, p := range s.phases {
		switch p {
		case running:
			s.phases[step] = stopping
			s.act(Stop, step, cause)
		case waiting:
			s.drop(step)
			s.act(kind, step, cause)
		}
	}
}

// drop ends a step that has not started.
func (s *State) drop(step int) {
	s.phases[step] = ended
	s.left--
}

func (s *State) act(kind ActionKind, step, cause int) {
	s.actions = append(s.actions, Action{Kind: kind, Step: step, Cause: cause})
}
