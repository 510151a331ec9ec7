package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/strata-ci/strata/internal/history"
	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/internal/records"
	"github.com/strata-ci/strata/runner"
)

// toldNotes is how many notes are told in full: a disk that is full gives one for
// each step.
const toldNotes = 5

// later keeps an error that does not change the verdict for the end of the run.
// That the records are damaged is worth one.
func (r *run) later(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if records.IsDamaged(err) && slices.ContainsFunc(r.notes, records.IsDamaged) {
		return
	}
	r.notes = append(r.notes, err)
}

// told returns the notes that are to be told.
func (r *run) told() []error {
	more := len(r.notes) - toldNotes
	if more <= 0 {
		return r.notes
	}
	list := slices.Clone(r.notes[:toldNotes])
	if i := slices.IndexFunc(r.notes, records.IsDamaged); i >= toldNotes {
		list[0] = r.notes[i]
	}
	return append(list, fmt.Errorf("%d more problems after the run", more))
}

// committed remembers a snapshot that is to be reaped, unless it is kept.
func (r *run) committed(i int, ref runner.SnapshotRef) {
	if ref == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.commits == nil {
		r.commits = map[runner.SnapshotRef]int{}
	}
	r.commits[ref] = i
}

// finish puts in order what the run has left. Last is the run's last event.
func (r *run) finish(ctx context.Context, last journal.Event) {
	if r.keeper != nil {
		r.keeper.stop()
	}
	reapErr := r.reap(ctx)
	err := r.record(ctx, last)
	if err != nil {
		r.later(fmt.Errorf("write the records of the run: %w", err))
	}
	if err != nil || reapErr != nil {
		r.journal.Leave()
	}
}

// reap gives every runner its own ephemeral snapshots to remove. What cannot
// be removed now is left for Recover.
func (r *run) reap(ctx context.Context) error {
	refs := map[runner.SnapshotReaper][]runner.SnapshotRef{}
	for ref, i := range r.commits {
		if r.keeper.kept[ref] {
			continue
		}
		if reaper, ok := r.Plan.Steps[i].Runner.(runner.SnapshotReaper); ok {
			refs[reaper] = append(refs[reaper], ref)
		}
	}
	var errs []error
	for reaper, refs := range refs {
		errs = append(errs, reaper.ReapSnapshots(ctx, refs))
	}
	return errors.Join(errs...)
}

// index notes in the records that the run has begun.
func (r *run) index(ctx context.Context) {
	err := r.engine.History.Started(ctx, journal.Summary{
		ID: r.id, Project: r.Project, Pipeline: r.Plan.Pipeline.Name, Started: r.began, Steps: len(r.Plan.Steps),
	})
	if err != nil {
		r.later(fmt.Errorf("write the records of the run: %w", err))
	}
}

// record notes in the records how the run and its steps have ended, and which
// earlier results were used.
func (r *run) record(ctx context.Context, last journal.Event) error {
	var keys []plan.Key
	var ends []history.StepEnd
	counts := map[journal.Status]int{}
	for i, e := range r.ended {
		s := &r.Plan.Steps[i]
		counts[e.status]++
		ends = append(ends, history.StepEnd{Step: s.Name, Status: e.status, Key: s.Key, DurationMS: e.durationMS})
		if e.status == journal.Cached {
			keys = append(keys, s.Key)
		}
	}
	return errors.Join(
		r.engine.Cache.Use(ctx, keys),
		r.engine.History.Ended(ctx, journal.Summary{
			ID: r.id, Pipeline: r.Plan.Pipeline.Name, Project: r.Project, Started: r.began, Status: last.Status, ExitCode: last.ExitCode,
			DurationMS: last.DurationMS, Steps: len(r.Plan.Steps), ByStatus: counts,
		}, ends),
	)
}

// clean removes what is not to be kept any longer: old runs and cached results.
func (e *Engine) clean(ctx context.Context, r *run) {
	if _, err := e.History.Prune(ctx, RunsDir(e.Home), KeptRuns); err != nil {
		r.later(fmt.Errorf("remove old journals: %w", err))
	}
	ctx, cancel := r.untilKilled(ctx)
	defer cancel()
	if _, err := e.Cache.Collect(ctx, e.Limits, e.Reapers, e.Free); err != nil && !r.killed() {
		r.later(fmt.Errorf("remove old cached results: %w", err))
	}
}

// untilKilled ends the returned context when the user does not want to wait any more.
func (r *run) untilKilled(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-r.Kill: // never, if it is nil
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel()
		<-done
	}
}

// killed reports whether the user does not want to wait any more.
func (r *run) killed() bool {
	select {
	case <-r.Kill:
		return true
	default: // also if it is nil
		return false
	}
}

// second ends the name of a step's second snapshot in one run.
const second = ".2"
