package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/runner"
)

// product is the snapshot that a step has come to.
type product struct {
	mu    sync.Mutex
	ref   runner.SnapshotRef
	entry *plan.Entry // the earlier result that it is; nil if this run made it

	remaking sync.Mutex
	failed   error // why a damaged one could not be made again

	checking sync.Mutex
	checked  runner.SnapshotRef // the last one that was looked at, and what was found
	found    error
}

func (p *product) hit(entry *plan.Entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ref, p.entry = entry.Ref, entry
}

func (p *product) made(ref runner.SnapshotRef) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ref, p.entry = ref, nil
}

// snapshot returns the snapshot for a child to start from. cached says that it
// was made by an earlier run, so that it may be damaged.
func (p *product) snapshot() (ref runner.SnapshotRef, cached bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ref, p.entry != nil
}

// whole looks once at all files of a cached snapshot.
func (r *run) whole(ctx context.Context, i int, ref runner.SnapshotRef) error {
	p := &r.products[i]
	p.checking.Lock()
	defer p.checking.Unlock()
	if p.checked != ref {
		err := r.check(ctx, i, ref, runner.CheckFiles)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p.checked, p.found = ref, err
	}
	return p.found
}

// remake replaces a step's cached snapshot that has turned out to be damaged,
// unless that has been done: by what another process has made meanwhile, else
// by running the step. The error of one that does not pass names it as the
// culprit.
func (r *run) remake(ctx context.Context, i int, damaged runner.SnapshotRef, why error) error {
	p := &r.products[i]
	p.remaking.Lock()
	defer p.remaking.Unlock()
	if now, cached := p.snapshot(); p.failed != nil || !cached || now != damaged {
		return p.failed
	}
	claim := r.claim(ctx, i)
	if ctx.Err() != nil {
		r.release(claim)
		return ctx.Err()
	}
	if entry := r.replacement(ctx, i, damaged, why); entry != nil {
		r.release(claim)
		p.hit(entry)
		return nil
	}
	e := r.perform(ctx, i, claim, true)
	r.ends <- e // the loop waits for the step that needs this one
	switch {
	case e.err != nil:
		p.failed = e.err
	case e.because != nil:
		p.failed = e.because
	case e.status != journal.Passed:
		p.failed = &stopped{i}
	default:
		p.made(e.ref)
	}
	return p.failed
}

// replacement returns the result that has taken the place of a damaged one. If
// that is still there, it is set aside.
func (r *run) replacement(ctx context.Context, i int, damaged runner.SnapshotRef, why error) *plan.Entry {
	s := &r.Plan.Steps[i]
	entry, err := r.engine.Cache.Entry(ctx, s.Key)
	if err != nil && ctx.Err() == nil {
		r.later(fmt.Errorf("look for an earlier result of %s: %w", s.Name, err))
	}
	if entry == nil || entry.Ref != damaged {
		return r.lookAgain(ctx, i)
	}
	r.setAside(ctx, i, s.Key, why)
	return nil
}

// isSnapshotFault reports whether an error says that a snapshot is missing or damaged.
func isSnapshotFault(err error) bool {
	var infra *runner.InfraError
	return errors.As(err, &infra) && infra.Kind == runner.KindSnapshot
}
