package journal

import "time"

// RunState is what the events of a run add up to. The zero value is the state
// before the first event.
type RunState struct {
	ID, Pipeline, Project string

	Jobs       int
	Started    time.Time
	Last       time.Time // when the latest event came
	Capture    *Capture
	Steps      []StepState // in definition order
	Cancelling string      // why the run is being cancelled; empty if it is not
	End        *Event      // the run_finished, once the run has ended

	index map[string]int // a step's name to its place in Steps
}

// StepState is what the events of a run say about one step.
type StepState struct {
	Step
	Started  time.Time // zero if it never did
	Notices  []string
	Decision *Decision // what the plan said of its cached result; nil before that
	Retries  []Event   // its step_retried events
	End      *Event    // the step_finished, once the step has ended
}

// Running reports whether the step has started and not ended.
func (s *StepState) Running() bool { return s.End == nil && !s.Started.IsZero() }

// Status is how the step has ended, empty if it has not.
func (s *StepState) Status() Status {
	if s.End == nil {
		return ""
	}
	return s.End.Status
}

// Status is how the run has ended, empty if it has not.
func (s *RunState) Status() Status {
	if s.End == nil {
		return ""
	}
	return s.End.Status
}

// Step returns the state of a step, nil if the run does not have it. It is
// valid until the next Apply.
func (s *RunState) Step(name string) *StepState {
	i, ok := s.index[name]
	if !ok {
		return nil
	}
	return &s.Steps[i]
}

// Fold returns the state after all events.
func Fold(events []Event) RunState {
	var s RunState
	for _, e := range events {
		s.Apply(e)
	}
	return s
}

// Apply adds the next event. Types that it does not know change nothing but
// the time; the same holds for events about steps that the run does not have.
func (s *RunState) Apply(e Event) {
	s.Last = e.Time
	step := s.Step(e.Step)
	switch {
	case e.Type == RunStarted:
		s.start(e)
	case e.Type == CaptureFinished:
		s.Capture = e.Capture
	case e.Type == PlanMade:
		s.decide(e.Decisions)
	case e.Type == RunCancelling:
		s.Cancelling = e.Message
	case e.Type == RunFinished:
		s.End = &e
	case step == nil:
	case e.Type == Notice:
		step.Notices = append(step.Notices, e.Message)
	case e.Type == StepStarted:
		// An earlier result that was used first may have turned out to be damaged.
		step.Started, step.Runner, step.End = e.Time, e.Runner, nil
	case e.Type == StepRetried:
		step.Retries = append(step.Retries, e)
	case e.Type == StepFinished:
		step.End = &e
	}
}

func (s *RunState) decide(decisions []Decision) {
	for i := range decisions {
		if step := s.Step(decisions[i].Step); step != nil {
			step.Decision = &decisions[i]
		}
	}
}

func (s *RunState) start(e Event) {
	s.ID, s.Pipeline, s.Project, s.Jobs, s.Started = e.RunID, e.Pipeline, e.Project, e.Jobs, e.Time
	s.Steps = make([]StepState, len(e.Steps))
	s.index = make(map[string]int, len(e.Steps))
	for i, step := range e.Steps {
		s.Steps[i].Step = step
		s.index[step.Name] = i
	}
}
