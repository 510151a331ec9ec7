package render

import (
	"fmt"
	"strings"
	"time"

	"github.com/strata-ci/strata/internal/journal"
)

// run is what the events so far say of a run.
type run struct {
	id, pipeline string
	started      time.Time // zero before run_started
	steps        []*step   // in definition order
	byName       map[string]*step
	jobs         int
	captured     bool
	cancelling   *journal.Event // nil while nothing ends the run early
	finished     *journal.Event // nil while it runs
}

// step is what the events so far say of a step.
type step struct {
	journal.Step
	started  time.Time      // zero while it waits
	attempt  int            // which one runs or ran, from 1 on; 0 while there is one only
	reason   string         // why no earlier result is used, where that is worth a word
	expected float64        // milliseconds that it took lately; 0 for unknown
	end      *journal.Event // nil while it waits or runs
}

func (s *step) running() bool { return s.end == nil && !s.started.IsZero() }

// status is empty while the step waits or runs.
func (s *step) status() journal.Status {
	if s.end == nil {
		return ""
	}
	return s.end.Status
}

// failed reports whether the step itself is a reason for the run not to pass.
func (s *step) failed() bool { return blames(s.status()) }

func blames(status journal.Status) bool {
	return status == journal.Failed || status == journal.TimedOut || status == journal.InfraFailed
}

// apply takes the next event in.
func (r *run) apply(e *journal.Event) {
	switch e.Type {
	case journal.RunStarted:
		r.id, r.pipeline, r.jobs, r.started = e.RunID, cleanString(e.Pipeline), e.Jobs, e.Time
		for _, s := range e.Steps {
			r.step(s.Name).Step = s
		}
	case journal.CaptureFinished:
		r.captured = true
	case journal.StepStarted:
		s := r.step(e.Step)
		s.started, s.end = e.Time, nil // an earlier result may have turned out to be damaged
		if e.Runner != "" {
			s.Runner = e.Runner
		}
	case journal.PlanMade:
		for _, d := range e.Decisions {
			s := r.step(d.Step)
			s.reason, s.expected = reasonToTell(d), d.ExpectedMS
		}
	case journal.StepRetried:
		r.step(e.Step).attempt = e.Attempt
	case journal.StepFinished:
		r.step(e.Step).end = e
	case journal.RunCancelling:
		r.cancelling = e
	case journal.RunFinished:
		r.finished = e
	}
}

// reasonToTell returns why an earlier result is not used. That a step has no
// policy, or never ran, tells nobody anything.
func reasonToTell(d journal.Decision) string {
	switch d.Reason {
	case "hit", "policy_none", "never_ran", "runner", "no_cache":
		return ""
	}
	return cleanString(d.Message)
}

// step returns the step with that name; an event may name one that run_started
// did not, if the journal is damaged.
func (r *run) step(name string) *step {
	if s := r.byName[name]; s != nil {
		return s
	}
	if r.byName == nil {
		r.byName = make(map[string]*step)
	}
	s := &step{Step: journal.Step{Name: name}}
	r.byName[name] = s
	r.steps = append(r.steps, s)
	return s
}

// count is the number of steps for which is holds.
func (r *run) count(is func(*step) bool) int {
	n := 0
	for _, s := range r.steps {
		if is(s) {
			n++
		}
	}
	return n
}

func (r *run) countStatus(status journal.Status) int {
	return r.count(func(s *step) bool { return s.status() == status })
}

// ending says how a step ended, with the reason where another step is to blame:
// "skipped because test failed".
func (r *run) ending(s *step) string {
	if s.end == nil || s.end.Cause == "" {
		text := endingOf(s.end)
		if s.end != nil {
			text += s.tries()
		}
		return text
	}
	return Word(s.end.Status) + " because " + r.blame(s.end.Cause)
}

// tries says that a step was tried more than once: " at attempt 3".
func (s *step) tries() string {
	if s.end.Attempt < 2 {
		return ""
	}
	return fmt.Sprintf(" at attempt %d", s.end.Attempt)
}

func endingOf(e *journal.Event) string {
	if e == nil {
		return Word("")
	}
	return Ending(e)
}

// blame says what the named step did to others: "test failed".
func (r *run) blame(name string) string {
	var status journal.Status
	if s := r.byName[name]; s != nil {
		status = s.status()
	}
	name = cleanString(name)
	switch status {
	case journal.TimedOut:
		return name + " timed out"
	case journal.InfraFailed:
		return name + " had an infrastructure error"
	case journal.Cancelled, journal.Interrupted, journal.Skipped:
		return name + " was " + Word(status)
	}
	return name + " failed"
}

// victims are the steps that did not run, or not to their end, because of cause.
type victims struct {
	status journal.Status
	cause  string
	names  []string
}

// victims groups steps by what became of them and by the step to blame, in
// order of definition.
func (r *run) victims() []*victims {
	var groups []*victims
	index := make(map[[2]string]*victims)
	for _, s := range r.steps {
		if status := s.status(); status != journal.Skipped && status != journal.Cancelled {
			continue
		}
		key := [2]string{string(s.end.Status), s.end.Cause}
		if index[key] == nil {
			index[key] = &victims{status: s.end.Status, cause: s.end.Cause}
			groups = append(groups, index[key])
		}
		index[key].names = append(index[key].names, cleanString(s.Name))
	}
	return groups
}

// line says it in one line: "skipped 2 steps because test failed: lint, deploy".
func (r *run) line(v *victims) string {
	reason := ""
	if v.cause != "" {
		reason = " because " + r.blame(v.cause)
	}
	return fmt.Sprintf("%s %s%s: %s", Word(v.status), Count(len(v.names), "step"), reason, strings.Join(v.names, ", "))
}

// headline is the verdict without its figures: "ci passed".
func (r *run) headline() string {
	name := r.pipeline
	if name == "" {
		name = "the run"
	}
	if r.finished == nil {
		return name + " has not finished"
	}
	switch r.finished.Status {
	case journal.InfraFailed:
		return name + " was stopped by an infrastructure error"
	case journal.Cancelled, journal.Interrupted:
		return name + " was " + Word(r.finished.Status)
	case journal.Invalid:
		return name + " is invalid"
	}
	return name + " " + Word(r.finished.Status)
}

// figures are the verdict's counts and time: "8 steps, 3 of them cached, in
// 12.3 s", or "1 failed, 2 skipped, 5 passed in 12.3 s".
func (r *run) figures() string {
	text := r.tally()
	if r.finished != nil && r.finished.Status == journal.Invalid {
		text = "nothing ran"
	}
	if r.finished != nil {
		text += " in " + Milliseconds(r.finished.DurationMS)
	}
	return text
}

// saved is how long the commands of the cached steps once took, in milliseconds.
func (r *run) saved() float64 {
	total := 0.0
	for _, s := range r.steps {
		if s.status() == journal.Cached {
			total += s.end.DurationMS
		}
	}
	return total
}

func (r *run) tally() string {
	cached := r.countStatus(journal.Cached)
	if passed := r.countStatus(journal.Passed); passed+cached == len(r.steps) {
		text := Count(len(r.steps), "step")
		if cached > 0 {
			text += fmt.Sprintf(" (%d cached, %s saved)", cached, Milliseconds(r.saved()))
		}
		return text
	}
	var parts []string
	for _, status := range []journal.Status{
		journal.InfraFailed, journal.Failed, journal.TimedOut, journal.Cancelled,
		journal.Interrupted, journal.Skipped, journal.Passed, journal.Cached, "",
	} {
		n := r.countStatus(status)
		switch {
		case n > 0 && status == journal.InfraFailed:
			parts = append(parts, Count(n, Word(status)))
		case n > 0:
			parts = append(parts, fmt.Sprintf("%d %s", n, Word(status)))
		}
	}
	return strings.Join(parts, ", ")
}
