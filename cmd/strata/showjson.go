package main

import (
	"time"

	"github.com/strata-ci/strata/internal/journal"
)

// shownRun is a run with its steps, as `strata show --json` prints it.
type shownRun struct {
	ID         string           `json:"id"`
	Pipeline   string           `json:"pipeline"`
	Project    string           `json:"project"`
	Jobs       int              `json:"jobs"`
	Started    time.Time        `json:"started"`
	DurationMS float64          `json:"duration_ms"`      // up to the latest event, where the run has not ended
	Status     journal.Status   `json:"status,omitempty"` // empty where the run has not ended
	Live       bool             `json:"live,omitempty"`   // its process lives
	ExitCode   *int             `json:"exit_code,omitempty"`
	Cancelling string           `json:"cancelling,omitempty"`
	Capture    *journal.Capture `json:"capture,omitempty"`
	Steps      []shownStep      `json:"steps"`
}

type shownStep struct {
	journal.Step
	Status      journal.Status `json:"status,omitempty"` // empty where the step has not ended
	Started     *time.Time     `json:"started,omitempty"`
	DurationMS  float64        `json:"duration_ms,omitempty"`
	ExitCode    *int           `json:"exit_code,omitempty"`
	Signal      string         `json:"signal,omitempty"`
	OutOfMemory bool           `json:"out_of_memory,omitempty"`
	Cause       string         `json:"cause,omitempty"` // the step that is to blame
	Error       *journal.Error `json:"error,omitempty"`
	Snapshot    string         `json:"snapshot,omitempty"`
	LogBytes    int64          `json:"log_bytes,omitempty"`
	Usage       *journal.Usage `json:"usage,omitempty"`
	Notices     []string       `json:"notices,omitempty"`

	Decision *journal.Decision `json:"decision,omitempty"` // about its cached result
	Key      string            `json:"key,omitempty"`      // its cache key
	From     *journal.Origin   `json:"from,omitempty"`     // of a cached step: whose result it is
	Attempts int               `json:"attempts,omitempty"` // where there was more than one
}

func showJSON(a *app, run *journal.Run) error {
	live, err := run.Alive()
	if err != nil {
		return err
	}
	events, err := run.Events()
	if err != nil {
		return err
	}
	return writeJSON(a.stdout, shown(run.ID(), live, journal.Fold(events)))
}

func shown(id string, live bool, state journal.RunState) shownRun {
	out := shownRun{
		ID: id, Pipeline: state.Pipeline, Project: state.Project, Jobs: state.Jobs,
		Started: state.Started, DurationMS: state.Last.Sub(state.Started).Seconds() * 1000,
		Status: state.Status(), Live: live && state.End == nil,
		Cancelling: state.Cancelling, Capture: state.Capture,
		Steps: make([]shownStep, len(state.Steps)),
	}
	if state.End != nil {
		out.DurationMS, out.ExitCode = state.End.DurationMS, state.End.ExitCode
	}
	for i, s := range state.Steps {
		out.Steps[i] = stepShown(s)
	}
	return out
}

func stepShown(s journal.StepState) shownStep {
	out := shownStep{Step: s.Step, Status: s.Status(), Notices: s.Notices, Decision: s.Decision}
	if !s.Started.IsZero() {
		out.Started = &s.Started
	}
	if e := s.End; e != nil {
		out.DurationMS, out.ExitCode, out.Signal, out.OutOfMemory = e.DurationMS, e.ExitCode, e.Signal, e.OutOfMemory
		out.Cause, out.Error, out.Snapshot = e.Cause, e.Error, e.Snapshot
		out.LogBytes, out.Usage = e.LogBytes, e.Usage
		out.Key, out.From, out.Attempts = e.Key, e.From, e.Attempt
	}
	return out
}
