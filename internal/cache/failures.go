package cache

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// Failure is what a step has left that did not pass, to be looked into.
type Failure struct {
	Step   plan.StepID
	Runner string
	Ref    runner.SnapshotRef // a kept snapshot
	Run    string
	Parts  []runner.SnapshotPart
}

// FailureLimits say which failures are kept: the newest ones that exceed none
// of them.
type FailureLimits struct {
	Count int
	Bytes pipeline.Bytes
	Age   time.Duration
}

// KeepFailures writes down what failed steps have left.
func (c *Cache) KeepFailures(ctx context.Context, failures []Failure) error {
	if len(failures) == 0 {
		return nil
	}
	now := c.now().UnixNano()
	return c.db.Update(ctx, func(tx *sql.Tx) error {
		for _, f := range failures {
			_, err := tx.ExecContext(ctx, `
				INSERT OR REPLACE INTO failures (runner, ref, project, pipeline, step, run, at) VALUES (?, ?, ?, ?, ?, ?, ?)`,
				f.Runner, string(f.Ref), f.Step.Project, f.Step.Pipeline, f.Step.Step, f.Run, now)
			if err != nil {
				return err
			}
			if err := addParts(ctx, tx, f.Runner, f.Ref, f.Parts); err != nil {
				return err
			}
		}
		return nil
	})
}

// forgetFailures removes the failures beyond the limits and returns how many.
// One counts with the bytes that no result holds and no newer failure. One that
// lies in the future, since the clock was set back, is as new as can be.
func (c *Cache) forgetFailures(ctx context.Context, tx *sql.Tx, limits FailureLimits) (removed int, err error) {
	failures, err := failedSnapshots(ctx, tx)
	if err != nil {
		return 0, err
	}
	kept, total, counted := 0, int64(0), map[string]bool{}
	for _, f := range failures {
		parts, bytes, err := f.cost(ctx, tx, counted)
		if err != nil {
			return removed, err
		}
		if kept < limits.Count && total+bytes <= int64(limits.Bytes) && c.now().Sub(f.at) <= limits.Age {
			kept, total = kept+1, total+bytes
			for _, p := range parts {
				counted[p] = true
			}
			continue
		}
		if err := forgetFailure(ctx, tx, f.snapshot); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

// giveUpFailure has the oldest kept failure leave that an eviction may free, and
// reports whether there was one.
func (now *collection) giveUpFailure(ctx context.Context, e *eviction) (gone bool, err error) {
	err = now.db.UpdateDurable(ctx, func(tx *sql.Tx) error {
		failures, err := failedSnapshots(ctx, tx)
		if err != nil {
			return err
		}
		for _, f := range slices.Backward(failures) {
			freed, err := own(ctx, tx, f.snapshot)
			if err != nil {
				return err
			}
			if freed <= e.spare {
				gone = true
				return forgetFailure(ctx, tx, f.snapshot)
			}
		}
		return nil
	})
	if err != nil || !gone {
		return false, err
	}
	now.report.Failures++
	return true, now.reap(ctx)
}

// failed is the snapshot of a kept failure.
type failed struct {
	snapshot
	at time.Time
}

// failedSnapshots returns all of them, the newest first.
func failedSnapshots(ctx context.Context, tx *sql.Tx) (list []failed, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT runner, ref, at FROM failures ORDER BY seq DESC`)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what went wrong
	for rows.Next() {
		var f failed
		var at int64
		if err := rows.Scan(&f.runner, &f.ref, &at); err != nil {
			return nil, err
		}
		f.at = time.Unix(0, at)
		list = append(list, f)
	}
	return list, rows.Err()
}

// cost returns the parts that the failure holds and no result does, but for
// those that are counted already, and their bytes.
func (f failed) cost(ctx context.Context, tx *sql.Tx, counted map[string]bool) (parts []string, bytes int64, err error) {
	rows, err := tx.QueryContext(ctx, `
		SELECT p.id, p.bytes FROM holds mine JOIN parts p ON p.runner = mine.runner AND p.id = mine.part
		WHERE mine.runner = ?1 AND mine.ref = ?2 AND NOT EXISTS (
			SELECT 1 FROM holds h JOIN entries e ON e.runner = h.runner AND e.ref = h.ref WHERE h.runner = ?1 AND h.part = p.id)`,
		f.runner, string(f.ref))
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what went wrong
	for rows.Next() {
		var id string
		var n int64
		if err := rows.Scan(&id, &n); err != nil {
			return nil, 0, err
		}
		if id = f.runner + " " + id; !counted[id] {
			parts, bytes = append(parts, id), bytes+n
		}
	}
	return parts, bytes, rows.Err()
}

// forgetFailure gives a kept failure up; its snapshot leaves.
func forgetFailure(ctx context.Context, tx *sql.Tx, s snapshot) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM failures WHERE runner = ? AND ref = ?`, s.runner, string(s.ref)); err != nil {
		return err
	}
	return leave(ctx, tx, s)
}
