package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/strata-ci/strata/internal/engine"
	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/internal/render"
	"github.com/strata-ci/strata/internal/suggest"
)

// whyCmd is `strata why`.
type whyCmd struct {
	Step  string `arg:"" complete:"past_step" help:"Name of the step."`
	RunID string `name:"run" short:"r" placeholder:"RUN" complete:"run" help:"ID of the run, or its beginning. Default: the project's latest run that has the step."`
	JSON  bool   `help:"Print a JSON object."`
}

// answer is why a step ran or was skipped, as `strata why --json` prints it.
type answer struct {
	Run string `json:"run"`
	journal.Decision
	Status     journal.Status  `json:"status,omitempty"` // empty where the step has not ended
	ExitCode   *int            `json:"exit_code,omitempty"`
	DurationMS float64         `json:"duration_ms,omitempty"`
	Attempts   int             `json:"attempts,omitempty"`
	UsedFrom   *journal.Origin `json:"used_from,omitempty"` // whose result the step has, where it was cached
	LogBytes   int64           `json:"log_bytes,omitempty"`
	end        *journal.Event
}

// Run tells why a step of a run ran, or why it was skipped.
func (c *whyCmd) Run(ctx context.Context, a *app) error {
	state, err := c.find(ctx, a)
	if err != nil {
		return err
	}
	step := state.Step(c.Step)
	if step.Decision == nil {
		reason := "its run ended before that was decided"
		if state.End == nil {
			reason = "its run has not decided yet"
		}
		return fmt.Errorf("tell why %s ran: %s", c.Step, reason)
	}
	found := answer{Run: state.ID, Decision: *step.Decision, Status: step.Status()}
	if e := step.End; e != nil {
		found.end = e
		found.ExitCode, found.DurationMS, found.LogBytes = e.ExitCode, e.DurationMS, e.LogBytes
		found.Attempts, found.UsedFrom = e.Attempt, e.From
	}
	if c.JSON {
		return writeJSON(a.stdout, found)
	}
	_, err = io.WriteString(a.stdout, clean(found.text()))
	return err
}

// find returns the run to tell of, in which the step is.
func (c *whyCmd) find(ctx context.Context, a *app) (journal.RunState, error) {
	if c.RunID != "" {
		run, err := a.findRun(ctx, c.RunID)
		if err != nil {
			return journal.RunState{}, err
		}
		return stateWith(run, c.Step)
	}
	root, err := a.here()
	if err != nil {
		return journal.RunState{}, err
	}
	var found *journal.Run
	var known []string
	err = a.withStore(ctx, func(s *store) error {
		id, err := s.history.LatestWith(ctx, root, c.Step)
		if err == nil && id != "" {
			found, err = journal.Open(filepath.Join(engine.RunsDir(s.home), id))
			return err
		}
		if err == nil {
			known, err = s.history.Steps(ctx, root)
		}
		return err
	})
	if err != nil {
		return journal.RunState{}, err
	}
	if found != nil {
		return stateWith(found, c.Step)
	}
	latest, err := a.findRun(ctx, "latest")
	if err != nil {
		return journal.RunState{}, err
	}
	names, labels, err := stepNames(latest)
	if err != nil {
		return journal.RunState{}, err
	}
	labels = append(make([]string, len(known)), labels...)
	return journal.RunState{}, invalidf("step %q never ran here%s; `strata run --dry-run` tells what a run would do",
		c.Step, suggest.HintName(c.Step, append(known, names...), labels))
}

// stateWith returns the state of a run that has the step.
func stateWith(run *journal.Run, step string) (journal.RunState, error) {
	if err := knownStep(run, step); err != nil {
		return journal.RunState{}, err
	}
	events, err := run.Events()
	return journal.Fold(events), err
}

// text is the answer for people: the verdict, what differs, and the figures.
func (a answer) text() string {
	var b strings.Builder
	switch {
	case a.Status == journal.Cached && a.Reason == "hit":
		fmt.Fprintf(&b, "%s was skipped in run %s: %s\n", a.Step, a.Run, a.Message)
	case a.Status == journal.Cached:
		fmt.Fprintf(&b, "%s was skipped in run %s: another run made its result meanwhile\n  before that: %s\n", a.Step, a.Run, a.Message)
	case a.Status == journal.Skipped, a.Status == journal.Cancelled && a.end.DurationMS == 0:
		fmt.Fprintf(&b, "%s did not run in run %s: %s\n  it would have run: %s\n", a.Step, a.Run, render.Ending(a.end), a.Message)
	case a.Reason == "hit" && a.Status != "":
		fmt.Fprintf(&b, "%s ran in run %s: the earlier result that was to be used has turned out to be damaged\n  before that: %s\n", a.Step, a.Run, a.Message)
	default:
		fmt.Fprintf(&b, "%s ran in run %s: %s\n", a.Step, a.Run, a.Message)
	}
	decision := engine.Decided(&a.Decision)
	b.WriteString(plan.Explain(&decision))
	if a.UsedFrom != nil {
		fmt.Fprintf(&b, "  `strata logs %s` shows the output that it had\n", a.Step)
	}
	if a.end != nil && a.Status != journal.Skipped {
		fmt.Fprintf(&b, "  it ended: %s", render.Ending(a.end))
		if a.Status == journal.Cached {
			fmt.Fprintf(&b, ", which saved %s", render.Milliseconds(a.DurationMS))
		} else {
			fmt.Fprintf(&b, " after %s", render.Milliseconds(a.DurationMS))
		}
		if a.Attempts > 1 {
			fmt.Fprintf(&b, ", at attempt %d", a.Attempts)
		}
		b.WriteByte('\n')
	}
	if a.Key != "" {
		fmt.Fprintf(&b, "  cache key %s\n", a.Key)
	}
	return b.String()
}

// ago says when something was, as a person would; a time to come as the time itself.
func ago(now, t time.Time) string {
	if d := now.Sub(t); d >= 0 && d < 48*time.Hour {
		return render.Duration(d) + " ago"
	}
	return "on " + t.Local().Format("2006-01-02 15:04:05")
}
