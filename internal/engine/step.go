package engine

import (
	"context"
	"errors"
	"time"

	"github.com/strata-ci/strata/internal/cache"
	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/internal/schedule"
	"github.com/strata-ci/strata/runner"
)

// step brings one step to its end: by an earlier result, or by running it.
func (r *run) step(ctx context.Context, i int) end {
	entry, claim, err := r.reuse(ctx, i)
	if err != nil {
		ev := journal.Event{Type: journal.StepFinished, Step: r.Plan.Steps[i].Name}
		e := r.broken(ctx, &ev, i, err)
		e.err = r.journal.Append(ev)
		return e
	}
	if entry != nil {
		return r.cached(i, entry)
	}
	e := r.perform(ctx, i, claim, false)
	r.products[i].made(e.ref)
	return e
}

// perform runs a step, whatever earlier results there are, and writes its
// events. A claim ends with it, or when the result is kept. again says that the
// step has ended in this run before, by an earlier result.
func (r *run) perform(ctx context.Context, i int, claim *cache.Claim, again bool) end {
	s := &r.Plan.Steps[i]
	e := end{step: i, outcome: schedule.InfraFailed, again: again}
	kept := false
	defer func() {
		if !kept {
			r.release(claim)
		}
	}()
	begin := time.Now()
	if e.err = r.journal.Append(journal.Event{Type: journal.StepStarted, Step: s.Name, Runner: s.Runner.Name()}); e.err != nil {
		return e
	}
	log, err := r.journal.Log(s.Name)
	if err != nil {
		e.err = err
		return e
	}
	sc := &runner.StepContext{Stdout: log, Stderr: log, Kill: r.Kill, Notice: func(message string) { r.tell(s.Name, message) }}
	in := r.input(i)
	if again {
		in.StepID += second // the names of snapshots are never used twice
		in.Cache.Ref = runner.SnapshotRef(in.StepID)
	}
	result, attempts, took, err := r.attempts(ctx, sc, in, i)
	ev := journal.Event{Type: journal.StepFinished, Step: s.Name, DurationMS: milliseconds(time.Since(begin)), Key: keyText(s.Key)}
	if attempts > 1 {
		ev.Attempt = attempts
	}
	if err != nil {
		e = r.broken(ctx, &ev, i, err)
		e.again = again
	} else {
		e.outcome = describe(&ev, result)
		e.ref = result.Snapshot
		e.status = ev.Status
	}
	if e.err = r.journal.Append(ev); e.err != nil {
		return e
	}
	e.durationMS = milliseconds(took)
	if err == nil && result.Snapshot != "" {
		kept = r.keep(i, result, took, log.Path(), claim)
	}
	if !result.Passed() {
		e.ref = "" // no child starts from it
	}
	return e
}

// broken ends a step that did not come to an end of its own.
func (r *run) broken(ctx context.Context, ev *journal.Event, i int, err error) end {
	e := end{step: i, outcome: schedule.InfraFailed, status: journal.InfraFailed}
	switch {
	case ctx.Err() != nil:
		e.outcome, e.status = schedule.Cancelled, journal.Cancelled
		errors.As(context.Cause(ctx), &e.because)
	case errors.As(err, &e.because): // it needs a step that has turned out not to pass
		e.outcome, e.status = schedule.Failed, journal.Cancelled
	default:
		ev.Error = eventError(runner.AsInfra("run the step", err))
	}
	if e.because != nil {
		ev.Cause = r.Plan.Steps[e.because.step].Name
	}
	ev.Status = e.status
	return e
}

func (r *run) release(claim *cache.Claim) {
	if claim == nil {
		return
	}
	if err := claim.Release(); err != nil {
		r.later(err)
	}
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
