package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/strata-ci/strata/internal/cache"
	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/runner"
)

// result is what a step has left and is to outlive the run.
type result struct {
	step   int
	ref    runner.SnapshotRef
	passed bool
	took   time.Duration // of the command
	log    string        // path of the step's log; the file is there if it wrote anything
	claim  *cache.Claim  // held until the entry is written; nil without one
}

// keeper makes results last, in a goroutine of its own, so that no step waits
// for a disk: runners keep the snapshots, then the cache entries are written.
type keeper struct {
	run  *run
	work chan struct{} // holds a value while there is something to do
	done chan struct{}

	cancel context.CancelFunc // of what the loop does

	mu      sync.Mutex
	waiting []result
	closed  bool

	kept map[runner.SnapshotRef]bool // of this run; the keeper's own until it has ended
}

func startKeeper(ctx context.Context, r *run, cancel context.CancelFunc) *keeper {
	k := &keeper{run: r, work: make(chan struct{}, 1), done: make(chan struct{}), cancel: cancel, kept: map[runner.SnapshotRef]bool{}}
	go k.loop(ctx)
	return k
}

func (k *keeper) add(res result) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.waiting = append(k.waiting, res)
	k.wake()
}

func (k *keeper) wake() {
	select {
	case k.work <- struct{}{}:
	default:
	}
}

// stop returns when all that was added is kept, or cannot be.
func (k *keeper) stop() {
	k.mu.Lock()
	k.closed = true
	k.wake()
	k.mu.Unlock()
	<-k.done
	k.cancel()
}

func (k *keeper) loop(ctx context.Context) {
	defer close(k.done)
	for range k.work {
		k.mu.Lock()
		batch, closed := k.waiting, k.closed
		k.waiting = nil
		k.mu.Unlock()
		byRunner := map[string][]result{}
		for _, res := range batch {
			name := k.run.Plan.Steps[res.step].Runner.Name()
			byRunner[name] = append(byRunner[name], res)
		}
		for _, name := range slices.Sorted(maps.Keys(byRunner)) {
			k.keep(ctx, byRunner[name])
		}
		if closed {
			return
		}
	}
}

// keep makes results of one runner last. Where that fails for several at once,
// each is tried alone.
func (k *keeper) keep(ctx context.Context, batch []result) {
	err := k.try(ctx, batch)
	if err != nil && len(batch) > 1 && ctx.Err() == nil {
		for _, res := range batch {
			k.keep(ctx, []result{res})
		}
		return
	}
	for _, res := range batch {
		switch {
		case err == nil:
			k.kept[res.ref] = true
		case !k.run.killed(): // else nobody wanted to wait for it
			k.run.later(fmt.Errorf("keep what %s has left: %w", k.run.Plan.Steps[res.step].Name, err))
		}
		k.run.release(res.claim)
	}
}

func (k *keeper) try(ctx context.Context, batch []result) error {
	refs := make([]runner.SnapshotRef, len(batch))
	for i, res := range batch {
		refs[i] = res.ref
	}
	keeper, ok := k.run.Plan.Steps[batch[0].step].Runner.(runner.SnapshotKeeper)
	if !ok {
		return errors.New("its runner keeps no snapshots")
	}
	snapshots, err := keeper.KeepSnapshots(ctx, refs)
	if err != nil {
		return err
	}
	parts := map[runner.SnapshotRef][]runner.SnapshotPart{}
	for _, s := range snapshots {
		parts[s.Ref] = s.Parts
	}
	var passed []cache.Result
	var failed []cache.Failure
	for _, res := range batch {
		s := &k.run.Plan.Steps[res.step]
		if res.passed {
			passed = append(passed, cache.Result{
				Key: s.Key, Step: k.run.idOf(res.step), Runner: s.Runner.Name(), Ref: res.ref, Run: k.run.id,
				Duration: res.took, Material: s.Material, Inputs: s.Listed, Log: res.log, Parts: parts[res.ref],
			})
		} else {
			failed = append(failed, cache.Failure{
				Step: k.run.idOf(res.step), Runner: s.Runner.Name(), Ref: res.ref, Run: k.run.id, Parts: parts[res.ref],
			})
		}
	}
	// Entries come last: one that is written is never written twice.
	if err := k.run.engine.Cache.KeepFailures(ctx, failed); err != nil {
		return err
	}
	return k.run.engine.Cache.Put(ctx, passed)
}

// keep hands what a step has left to the keeper, if it is to outlive the run;
// with it goes the claim.
func (r *run) keep(i int, res runner.StepResult, took time.Duration, log string, claim *cache.Claim) (kept bool) {
	s := &r.Plan.Steps[i]
	if res.Passed() && !s.Kept() || !res.Passed() && !plan.KeepsResults(s.Runner) {
		return false
	}
	if !res.Passed() {
		r.release(claim)
		claim = nil
	}
	r.keeper.add(result{step: i, ref: res.Snapshot, passed: res.Passed(), took: took, log: log, claim: claim})
	return true
}

// idOf names a step of the plan across runs.
func (r *run) idOf(i int) plan.StepID {
	return plan.StepID{Project: r.Project, Pipeline: r.Plan.Pipeline.Name, Step: r.Plan.Steps[i].Name}
}
