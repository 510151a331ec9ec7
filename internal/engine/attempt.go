package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/runner"
)

const (
	// firstBackoff is the pause before a step is tried again after an
	// infrastructure error; each further pause is twice as long, up to
	// longestBackoff. What is temporary (a network, a machine that is busy)
	// seldom passes sooner, and nobody wants to wait longer for it.
	firstBackoff   = time.Second
	longestBackoff = 30 * time.Second
)

// Backoff is how long to wait before the nth further try, from 1 on, after an
// infrastructure error.
func Backoff(n int) time.Duration {
	pause := firstBackoff
	for ; n > 1 && pause < longestBackoff; n-- {
		pause *= 2
	}
	return min(pause, longestBackoff)
}

// attempts runs a step until it passes or may not be tried again. It returns
// how the last attempt ended, its number, and how long it took.
func (r *run) attempts(ctx context.Context, sc *runner.StepContext, in runner.ExecutorInput, i int) (result runner.StepResult, n int, took time.Duration, err error) {
	s := &r.Plan.Steps[i]
	broken, failed := 0, 0
	for n = 1; ; n++ {
		begin := time.Now()
		result, err = r.attempt(ctx, sc, in, i)
		took = time.Since(begin)
		if ctx.Err() != nil {
			return result, n, took, err
		}
		ev := journal.Event{Type: journal.StepRetried, Step: s.Name, Attempt: n + 1, DurationMS: milliseconds(took)}
		switch {
		case err != nil && temporary(err) && broken < s.Retry:
			broken++
			pause := r.engine.Backoff(broken)
			ev.Status, ev.Error = journal.InfraFailed, eventError(runner.AsInfra("run the step", err))
			ev.Message = fmt.Sprintf("attempt %d after an infrastructure error that may pass, in %v: %v", n+1, pause, err)
			if err := r.journal.Append(ev); err != nil {
				return result, n, took, err
			}
			if !sleep(ctx, pause) {
				return result, n, took, ctx.Err()
			}
		case err == nil && !result.Passed() && failed < s.RetryFailed:
			failed++
			describe(&ev, result)
			ev.Snapshot = "" // the next attempt's takes its name
			ev.Message = fmt.Sprintf("attempt %d: the command did not pass (%d of %d further tries)", n+1, failed, s.RetryFailed)
			if err := r.journal.Append(ev); err != nil {
				return result, n, took, err
			}
		default:
			return result, n, took, err
		}
	}
}

func temporary(err error) bool {
	var infra *runner.InfraError
	return errors.As(err, &infra) && infra.Temporary
}

// sleep waits, and reports whether it was not in vain.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// attempt runs a step once. Where its parent's snapshot is an earlier result,
// all files of that are looked at meanwhile; if it is damaged, nothing that the
// step did counts, and it runs again from a snapshot that is made anew.
func (r *run) attempt(ctx context.Context, sc *runner.StepContext, in runner.ExecutorInput, i int) (runner.StepResult, error) {
	s := &r.Plan.Steps[i]
	if s.Parent < 0 {
		return r.execute(ctx, sc, in, i)
	}
	for {
		var cached bool
		if in.Parent, cached = r.products[s.Parent].snapshot(); !cached {
			return r.execute(ctx, sc, in, i)
		}
		result, damage, err := r.checked(ctx, sc, in, i)
		if damage == nil || ctx.Err() != nil {
			return result, err
		}
		r.tell(s.Name, "it starts again: what it started from is damaged")
		if err := r.remake(ctx, s.Parent, in.Parent, damage); err != nil {
			return runner.StepResult{}, err
		}
	}
}

// execute has the runner run a step. What it has left is reaped at the end of
// the run, also if the step runs again.
func (r *run) execute(ctx context.Context, sc *runner.StepContext, in runner.ExecutorInput, i int) (runner.StepResult, error) {
	result, err := r.Plan.Steps[i].Runner.Execute(ctx, sc, in)
	r.committed(i, result.Snapshot)
	return result, err
}

// checked runs a step while its parent's snapshot is looked at. Damage is what
// is wrong with that: then the step is ended, and how it ended means nothing.
func (r *run) checked(ctx context.Context, sc *runner.StepContext, in runner.ExecutorInput, i int) (result runner.StepResult, damage, err error) {
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	parent := r.Plan.Steps[i].Parent
	found := make(chan error, 1)
	go func() {
		err := r.whole(ctx, parent, in.Parent)
		if err != nil {
			cancel()
		}
		found <- err
	}()
	result, err = r.execute(running, sc, in, i)
	unknown := <-found
	if unknown == nil && isSnapshotFault(err) {
		// It may have gone since it was looked at.
		unknown = r.check(ctx, parent, in.Parent, runner.CheckExists)
	}
	switch {
	case unknown == nil:
		return result, nil, err
	case isSnapshotFault(unknown):
		return runner.StepResult{}, unknown, unknown
	default:
		return runner.StepResult{}, nil, unknown
	}
}
