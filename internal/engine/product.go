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

// remake runs a step whose cached snapshot has turned out to be damaged, unless
// somebody has done so already.
func (r *run) remake(ctx context.Context, i int, damaged runner.SnapshotRef, why error) error {
	p := &r.products[i]
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ref != damaged || p.entry == nil {
		return nil
	}
	r.setAside(ctx, i, p.entry.Key, damaged, why)
	e := r.perform(ctx, i, nil, true)
	switch {
	case e.err != nil:
		return e.err
	case e.status != journal.Passed:
		return &runner.InfraError{
			Op: "make the damaged snapshot of " + r.Plan.Steps[i].Name + " again", Kind: runner.KindSnapshot,
			Err: fmt.Errorf("the step ended as %s", e.status),
		}
	}
	p.ref, p.entry = e.ref, nil
	return nil
}

// isSnapshotFault reports whether an error says that a snapshot is missing or damaged.
func isSnapshotFault(err error) bool {
	var infra *runner.InfraError
	return errors.As(err, &infra) && infra.Kind == runner.KindSnapshot
}
