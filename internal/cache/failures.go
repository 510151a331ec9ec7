package cache

import (
	"context"
	"database/sql"
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
			if err := hold(ctx, tx, f.Runner, f.Ref, f.Parts); err != nil {
				return err
			}
		}
		return nil
	})
}

// forgetFailures removes failures beyond the limits. A failure that lies in the
// future, since the clock was set back, is as new as can be.
func (c *Cache) forgetFailures(ctx context.Context, tx *sql.Tx, limits FailureLimits) error {
	rows, err := tx.QueryContext(ctx, `
		SELECT runner, ref, at, (SELECT coalesce(sum(p.bytes), 0) FROM holds h JOIN parts p ON p.runner = h.runner AND p.id = h.part
			WHERE h.runner = f.runner AND h.ref = f.ref)
		FROM failures f ORDER BY seq DESC`)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what went wrong
	type snapshot struct {
		runner string
		ref    runner.SnapshotRef
	}
	var gone []snapshot
	count, total := 0, int64(0)
	for rows.Next() {
		var s snapshot
		var at, bytes int64
		if err := rows.Scan(&s.runner, &s.ref, &at, &bytes); err != nil {
			return err
		}
		count++
		total += bytes
		if count > limits.Count || total > int64(limits.Bytes) || c.now().Sub(time.Unix(0, at)) > limits.Age {
			gone = append(gone, s)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, s := range gone {
		if _, err := tx.ExecContext(ctx, `DELETE FROM failures WHERE runner = ? AND ref = ?`, s.runner, string(s.ref)); err != nil {
			return err
		}
		if err := leave(ctx, tx, s.runner, s.ref); err != nil {
			return err
		}
	}
	return nil
}
