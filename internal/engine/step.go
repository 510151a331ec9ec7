package engine

import (
	"context"
	"errors"
	"time"

	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/internal/schedule"
	"github.com/strata-ci/strata/runner"
)

// step runs one step and writes its events.
func (r *run) step(ctx context.Context, i int, in runner.ExecutorInput) end {
	s := &r.Plan.Steps[i]
	e := end{step: i, outcome: schedule.InfraFailed}
	begin := time.Now()
	if e.err = r.journal.Append(journal.Event{Type: journal.StepStarted, Step: s.Name, Runner: s.Runner.Name()}); e.err != nil {
		return e
	}
	log, err := r.journal.Log(s.Name)
	if err != nil {
		e.err = err
		return e
	}
	sc := &runner.StepContext{
		Stdout: log, Stderr: log, Kill: r.Kill,
		Notice: func(message string) {
			// An event that cannot be written shows at the step's last one.
			_ = r.journal.Append(journal.Event{Type: journal.Notice, Step: s.Name, Message: message})
		},
	}
	result, err := s.Runner.Execute(ctx, sc, in)
	ev := journal.Event{Type: journal.StepFinished, Step: s.Name, DurationMS: milliseconds(time.Since(begin))}
	switch {
	case err != nil && ctx.Err() != nil:
		e.outcome, ev.Status = schedule.Cancelled, journal.Cancelled
		var by *stopped
		if errors.As(context.Cause(ctx), &by) {
			ev.Cause = r.Plan.Steps[by.step].Name
		}
	case err != nil:
		e.outcome, ev.Status = schedule.InfraFailed, journal.InfraFailed
		ev.Error = eventError(runner.AsInfra("run the step", err))
	default:
		e.ref = result.Snapshot
		e.outcome = describe(&ev, result)
	}
	e.status = ev.Status
	e.err = r.journal.Append(ev)
	return e
}

// describe fills in how the command ended.
func describe(ev *journal.Event, result runner.StepResult) schedule.Outcome {
	ev.Signal = result.Signal
	ev.OutOfMemory = result.OutOfMemory
	ev.Snapshot = string(result.Snapshot)
	if result.Signal == "" {
		ev.ExitCode = &result.ExitCode
	}
	ev.Usage = &journal.Usage{
		UserMS: milliseconds(result.Usage.UserTime), SystemMS: milliseconds(result.Usage.SystemTime), PeakMemory: int64(result.Usage.PeakMemory),
	}
	switch {
	case result.TimedOut:
		ev.Status = journal.TimedOut
		return schedule.TimedOut
	case result.Passed():
		ev.Status = journal.Passed
		return schedule.Passed
	default:
		ev.Status = journal.Failed
		return schedule.Failed
	}
}

func eventError(err *runner.InfraError) *journal.Error {
	return &journal.Error{Op: err.Op, Kind: string(err.Kind), Temporary: err.Temporary, Message: err.Err.Error()}
}
