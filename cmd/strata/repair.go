package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/strata-ci/strata/internal/engine"
	"github.com/strata-ci/strata/internal/records"
	"github.com/strata-ci/strata/runner"
)

// repair is one thing that was wrong with the state directory.
type repair struct {
	// What was wrong.
	What string `json:"what"`
	// Done says what was done about it; empty where nothing could be.
	Done string `json:"done,omitempty"`
}

// repairState looks at everything in the state directory, down to the last byte
// of what is kept, and repairs what it can.
func (a *app) repairState(ctx context.Context) (found []repair, err error) {
	found, err = a.repairRecords(ctx)
	if err != nil {
		return found, err
	}
	err = a.withRunners(ctx, func(s *store, r *runners) error {
		for _, look := range []func(context.Context, *store, *runners) ([]repair, error){repairResults, repairFailures, repairRuns, a.repairOwners} {
			more, err := look(ctx, s, r)
			found = append(found, more...)
			if err != nil {
				return err
			}
		}
		return nil
	})
	return found, err
}

// repairRecords sets damaged records aside. What they recorded is then without
// an owner, and is removed with what else has none.
func (a *app) repairRecords(ctx context.Context) ([]repair, error) {
	home, err := a.makeStateDir()
	if err != nil {
		return nil, err
	}
	db, err := records.Open(home, records.Options{})
	if err != nil {
		return nil, err
	}
	var found []repair
	for _, note := range db.Notes() {
		found = append(found, repair{What: "the records could not be read", Done: note})
	}
	problems := db.Check(ctx)
	if err := errors.Join(db.Close(), ctx.Err()); err != nil || len(problems) == 0 {
		return found, err
	}
	note, err := records.SetAside(home, errors.New(problems[0]))
	if err != nil {
		return found, err
	}
	return append(found, repair{What: "the records contradict themselves: " + strings.Join(problems, "; "), Done: note}), nil
}

// checkWhole compares a kept snapshot with what it was. The error of a runner
// that this machine does not have says nothing of its snapshots.
func (r *runners) checkWhole(ctx context.Context, name string, ref runner.SnapshotRef) error {
	one, err := r.registry.Get(name)
	if err != nil {
		return nil
	}
	checker, ok := one.(runner.SnapshotChecker)
	if !ok {
		return nil
	}
	return checker.CheckSnapshot(ctx, ref, runner.CheckContents)
}

// isDamage reports whether an error is about a snapshot, not about looking at it.
func isDamage(err error) bool {
	var infra *runner.InfraError
	return errors.As(err, &infra) && infra.Kind == runner.KindSnapshot
}

func repairResults(ctx context.Context, s *store, r *runners) (found []repair, err error) {
	entries, err := s.cache.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		what := fmt.Sprintf("the result of the step %s of run %s", e.Step.Step, e.Run)
		switch err := r.checkWhole(ctx, e.Runner, e.Ref); {
		case isDamage(err):
			if err := s.cache.Remove(ctx, e.Key, "by strata doctor --repair, because it was damaged"); err != nil {
				return found, err
			}
			found = append(found, repair{What: fmt.Sprintf("%s is damaged: %v", what, err), Done: "removed; the next run makes it again"})
			continue
		case err != nil:
			return found, fmt.Errorf("look at %s: %w", what, err)
		}
		log, err := s.cache.Log(ctx, e.Key)
		if err != nil {
			found = append(found, repair{What: fmt.Sprintf("%s: %v", what, err), Done: "removed; the next run makes it again"})
			continue
		}
		if err := log.Close(); err != nil {
			return found, err
		}
	}
	return found, nil
}

func repairFailures(ctx context.Context, s *store, r *runners) (found []repair, err error) {
	failures, err := s.cache.Failures(ctx)
	if err != nil {
		return nil, err
	}
	for _, f := range failures {
		what := fmt.Sprintf("what the failed step %s of run %s left", f.Step.Step, f.Run)
		err := r.checkWhole(ctx, f.Runner, f.Ref)
		switch {
		case isDamage(err):
			found = append(found, repair{What: fmt.Sprintf("%s is damaged: %v", what, err), Done: "removed"})
			if err := s.cache.Forget(ctx, f); err != nil {
				return found, err
			}
		case err != nil:
			return found, fmt.Errorf("look at %s: %w", what, err)
		}
	}
	return found, nil
}

// repairRuns lists runs that the records do not know.
func repairRuns(ctx context.Context, s *store, _ *runners) (found []repair, err error) {
	adopted, err := s.history.Adopt(ctx, engine.RunsDir(s.home))
	for _, id := range adopted {
		found = append(found, repair{What: "the records did not know the run " + id, Done: "added: strata runs lists it"})
	}
	return found, err
}

// sweeper is a runner whose store may hold what nobody can find any more.
type sweeper interface {
	Sweep(ctx context.Context, full bool) error
}

// repairOwners removes what was just given up, and what nobody owns.
func (a *app) repairOwners(ctx context.Context, s *store, r *runners) (found []repair, err error) {
	reapers := r.reapers()
	engine := s.engine(a, reapers)
	if _, err := s.cache.Collect(ctx, s.limits, reapers, engine.Free); err != nil { // what was given up leaves
		return nil, err
	}
	removed, err := engine.Tidy(ctx)
	for _, what := range removed {
		found = append(found, repair{What: what + " has no owner", Done: "removed"})
	}
	if err != nil {
		return found, err
	}
	for _, name := range r.registry.Names() {
		one, err := r.registry.Get(name)
		if err != nil {
			return found, err
		}
		if full, ok := one.(sweeper); ok {
			if err := full.Sweep(ctx, true); err != nil {
				return found, err
			}
		}
	}
	return found, nil
}

func writeRepairs(w io.Writer, found []repair) error {
	if len(found) == 0 {
		_, err := io.WriteString(w, "✓ the state directory is in order\n")
		return err
	}
	var text strings.Builder
	for _, f := range found {
		fmt.Fprintf(&text, "✗ %s\n", clean(f.What))
		if f.Done != "" {
			fmt.Fprintf(&text, "  → %s\n", clean(f.Done))
		}
	}
	_, err := io.WriteString(w, text.String())
	return err
}

func writeRepairsJSON(w io.Writer, found []repair) error {
	if found == nil {
		found = []repair{}
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(found)
}
