package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/strata-ci/strata/internal/cache"
	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/internal/schedule"
	"github.com/strata-ci/strata/runner"
)

// reuse returns the earlier result to use for a step; or the claim to make one,
// for whoever else needs the same waits for it; or neither for a step whose
// result is not kept.
func (r *run) reuse(ctx context.Context, i int) (*plan.Entry, *cache.Claim, error) {
	s := &r.Plan.Steps[i]
	if s.Decision.Hit() && r.usable(ctx, i, s.Decision.Entry) {
		return s.Decision.Entry, nil, nil
	}
	if !s.Kept() {
		return nil, nil, nil
	}
	waited := false
	claim, err := r.engine.Cache.Claim(ctx, s.Key, func() {
		waited = true
		r.tell(s.Name, "another step with the same key is running: waiting for its result")
	})
	if err != nil {
		return nil, nil, err
	}
	if r.NoCache && !waited {
		return nil, claim, nil
	}
	entry, err := r.lookAgain(ctx, i)
	if err != nil || entry == nil {
		return nil, claim, err
	}
	return entry, nil, claim.Release()
}

// lookAgain looks for a result that was made since the plan.
func (r *run) lookAgain(ctx context.Context, i int) (*plan.Entry, error) {
	s := &r.Plan.Steps[i]
	entry, err := r.engine.Cache.Entry(ctx, s.Key)
	if err != nil || entry == nil || s.Judge(entry, r.engine.Now()) != plan.ReasonHit || !r.usable(ctx, i, entry) {
		return nil, err
	}
	return entry, nil
}

// usable reports whether an entry's snapshot is there. One that is not is set
// aside with its entry.
func (r *run) usable(ctx context.Context, i int, entry *plan.Entry) bool {
	err := r.check(ctx, i, entry.Ref, runner.CheckExists)
	if err == nil {
		return true
	}
	r.setAside(ctx, i, entry.Key, entry.Ref, err)
	return false
}

func (r *run) check(ctx context.Context, i int, ref runner.SnapshotRef, depth runner.CheckDepth) error {
	checker, ok := r.Plan.Steps[i].Runner.(runner.SnapshotChecker)
	if !ok {
		return nil // the plan uses no earlier results of such a runner
	}
	return checker.CheckSnapshot(ctx, ref, depth)
}

// setAside gives up a cached result that is not as it was.
func (r *run) setAside(ctx context.Context, i int, key plan.Key, ref runner.SnapshotRef, why error) {
	r.tell(r.Plan.Steps[i].Name, fmt.Sprintf("its cached result cannot be used, and is made again: %v", why))
	if ctx.Err() != nil {
		return
	}
	err := r.engine.Cache.Remove(ctx, key, fmt.Sprintf("because it was damaged: %v", why))
	if reaper, ok := r.Plan.Steps[i].Runner.(runner.SnapshotReaper); ok {
		err = errors.Join(err, reaper.ReapSnapshots(ctx, []runner.SnapshotRef{ref}))
	}
	if err != nil {
		r.later(fmt.Errorf("set the damaged result of %s aside: %w", r.Plan.Steps[i].Name, err))
	}
}

// cached ends a step by an earlier result.
func (r *run) cached(i int, entry *plan.Entry) end {
	r.products[i].hit(entry)
	ev := journal.Event{
		Type: journal.StepFinished, Step: r.Plan.Steps[i].Name, Status: journal.Cached,
		Snapshot: string(entry.Ref), Key: keyText(entry.Key), From: origin(&entry.Origin), DurationMS: milliseconds(entry.Duration),
	}
	return end{step: i, outcome: schedule.Passed, status: journal.Cached, durationMS: ev.DurationMS, err: r.journal.Append(ev)}
}

// tell writes a notice about a step.
func (r *run) tell(step, message string) {
	// An event that cannot be written shows at the step's last one.
	_ = r.journal.Append(journal.Event{Type: journal.Notice, Step: step, Message: message})
}
