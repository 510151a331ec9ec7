package engine

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/runner"
)

// Recover ends the runs whose processes died. Before that, what they have left
// and no record names is given to the runners that made it, and removed from
// the cache. Where no process died it costs a look.
func (e *Engine) Recover(ctx context.Context) error {
	// An index that was lost is made first, so that it is not taken for whole.
	importErr := e.History.Import(ctx, RunsDir(e.Home))
	died := false
	_, err := journal.Recover(RunsDir(e.Home), e.Now, func(state journal.RunState) error {
		died = true
		return errors.Join(e.reapDead(ctx, state), e.noteDead(ctx, state))
	})
	settled, settleErr := e.History.Settle(ctx, RunsDir(e.Home))
	err = errors.Join(importErr, err, settleErr)
	if died || settled > 0 {
		_, tidyErr := e.Tidy(ctx)
		err = errors.Join(err, tidyErr)
	}
	return err
}

// reapDead has the snapshots of a dead run removed, but for those that have an owner.
func (e *Engine) reapDead(ctx context.Context, state journal.RunState) error {
	refs := map[string][]runner.SnapshotRef{}
	for _, s := range state.Steps {
		id := stepID(state.ID, s.Name)
		refs[s.Runner] = append(refs[s.Runner], runner.SnapshotRef(id), runner.SnapshotRef(id+second))
	}
	var errs []error
	for name, refs := range refs {
		_, err := e.reapUnnamed(ctx, name, refs)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// noteDead makes sure that the index has the run, so that its end will be noted,
// or has it no more, where a loss of power took its journal.
func (e *Engine) noteDead(ctx context.Context, state journal.RunState) error {
	if state.Started.IsZero() {
		return e.History.Forget(ctx, state.ID)
	}
	return e.History.Started(ctx, journal.Summary{
		ID: state.ID, Project: state.Project, Pipeline: state.Pipeline, Started: state.Started, Steps: len(state.Steps),
	})
}

// reapUnnamed removes those of a runner's snapshots that no record names, and
// returns them.
func (e *Engine) reapUnnamed(ctx context.Context, name string, refs []runner.SnapshotRef) ([]runner.SnapshotRef, error) {
	reaper := e.Reapers[name]
	if reaper == nil {
		return nil, nil
	}
	unnamed, err := e.Cache.Unnamed(ctx, name, refs)
	if err != nil || len(unnamed) == 0 {
		return nil, err
	}
	return unnamed, reaper.ReapSnapshots(ctx, unnamed)
}

// lister is a runner that can say which snapshots it keeps.
type lister interface {
	KeptSnapshots(ctx context.Context) ([]runner.SnapshotRef, error)
}

// Tidy removes what has no owner: kept snapshots that no record names, and the
// cache's files that belong to nobody. What living runs are about to record
// stays. It looks at everything that is kept, and returns what it removed.
func (e *Engine) Tidy(ctx context.Context) (removed []string, err error) {
	var errs []error
	alive := e.livingRuns()
	for name, reaper := range e.Reapers {
		list, ok := reaper.(lister)
		if !ok {
			continue
		}
		kept, err := list.KeptSnapshots(ctx)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		var refs []runner.SnapshotRef
		for _, ref := range kept {
			if !alive(ref) {
				refs = append(refs, ref)
			}
		}
		unnamed, err := e.reapUnnamed(ctx, name, refs)
		for _, ref := range unnamed {
			removed = append(removed, "the snapshot "+string(ref)+" of the runner "+name)
		}
		errs = append(errs, err)
	}
	files, err := e.Cache.Tidy(ctx, alive)
	return append(removed, files...), errors.Join(append(errs, err)...)
}

// livingRuns returns a function that reports whether a snapshot's run lives, or
// may live.
func (e *Engine) livingRuns() func(runner.SnapshotRef) bool {
	known := map[string]bool{}
	return func(ref runner.SnapshotRef) bool {
		id, _, _ := strings.Cut(string(ref), ".") // see stepID
		live, seen := known[id]
		if !seen {
			live = alive(filepath.Join(RunsDir(e.Home), id))
			known[id] = live
		}
		return live
	}
}

func alive(dir string) bool {
	run, err := journal.Open(dir)
	if err != nil {
		return false // it has no journal
	}
	live, err := run.Alive()
	return live || err != nil
}
