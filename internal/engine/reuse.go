package engine

import (
	"context"
	"fmt"
	"slices"

	"github.com/strata-ci/strata/internal/cache"
	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/internal/schedule"
	"github.com/strata-ci/strata/runner"
)

// reuse returns the earlier result to use for a step; or the claim to make one,
// for whoever else needs the same waits for it; or neither for a step whose
// result is not kept. The error is ctx's.
func (r *run) reuse(ctx context.Context, i int) (*plan.Entry, *cache.Claim, error) {
	s := &r.Plan.Steps[i]
	if s.Decision.Hit() && !slices.Contains(r.gone, s.Key) {
		return s.Decision.Entry, nil, nil
	}
	if s.Decision.Hit() {
		r.tell(s.Name, "its earlier result was removed after the plan was made")
	}
	if !s.Kept() {
		return nil, nil, nil
	}
	claim := r.claim(ctx, i)
	entry := r.lookAgain(ctx, i)
	if entry != nil || ctx.Err() != nil {
		r.release(claim)
		claim = nil
	}
	return entry, claim, ctx.Err()
}

// claim waits until nobody else makes the step's result. Without a claim the
// step runs all the same: that somebody else does so, too, is only a waste.
func (r *run) claim(ctx context.Context, i int) *cache.Claim {
	s := &r.Plan.Steps[i]
	claim, err := r.engine.Cache.Claim(ctx, s.Key, func() {
		r.tell(s.Name, "another step with the same key is running: waiting for its result")
	})
	if err != nil && ctx.Err() == nil {
		r.later(fmt.Errorf("make sure that %s runs only once: %w", s.Name, err))
	}
	return claim
}

// lookAgain looks for a result that was made since the plan. One whose snapshot
// is not there is set aside. Who wants no earlier results gets only this run's.
func (r *run) lookAgain(ctx context.Context, i int) *plan.Entry {
	s := &r.Plan.Steps[i]
	entry, err := r.engine.Cache.Entry(ctx, s.Key)
	if err != nil && ctx.Err() == nil {
		r.later(fmt.Errorf("look for an earlier result of %s: %w", s.Name, err))
	}
	if err != nil || entry == nil || r.NoCache && entry.Origin.Run != r.id || s.Judge(entry, r.engine.Now()) != plan.ReasonHit {
		return nil
	}
	gone, err := r.engine.Cache.Take(ctx, []*plan.Entry{entry})
	if err != nil && ctx.Err() == nil {
		r.later(fmt.Errorf("use an earlier result of %s: %w", s.Name, err))
	}
	if err != nil || len(gone) > 0 {
		return nil
	}
	err = r.check(ctx, i, entry.Ref, runner.CheckExists)
	switch {
	case err == nil:
		return entry
	case isSnapshotFault(err):
		r.setAside(ctx, i, entry.Key, err)
	case ctx.Err() == nil:
		r.tell(s.Name, fmt.Sprintf("nobody can tell whether its earlier result is whole, so it is not used: %v", err))
	}
	return nil
}

func (r *run) check(ctx context.Context, i int, ref runner.SnapshotRef, depth runner.CheckDepth) error {
	checker, ok := r.Plan.Steps[i].Runner.(runner.SnapshotChecker)
	if !ok {
		return nil // the plan uses no earlier results of such a runner
	}
	return checker.CheckSnapshot(ctx, ref, depth)
}

// setAside gives up a cached result that is not as it was, with the step's
// claim held. The next collection removes its snapshot, which others may have
// started from.
func (r *run) setAside(ctx context.Context, i int, key plan.Key, why error) {
	s := &r.Plan.Steps[i]
	r.tell(s.Name, fmt.Sprintf("its cached result cannot be used, and is made again: %v", why))
	if err := r.engine.Cache.Remove(ctx, key, fmt.Sprintf("because it was damaged: %v", why)); err != nil && ctx.Err() == nil {
		r.later(fmt.Errorf("set the damaged result of %s aside: %w", s.Name, err))
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
