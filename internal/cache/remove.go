package cache

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"

	"github.com/strata-ci/strata/internal/fault"
	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/runner"
)

// keptTombstones is how many removed results can be explained: those of a month
// of a busy project.
const keptTombstones = 10_000

// Remove removes a result. rule says why, in words that go on after "removed".
// Its snapshot leaves with the next collection. A key without a result is no error.
func (c *Cache) Remove(ctx context.Context, key plan.Key, rule string) error {
	return c.db.Update(ctx, func(tx *sql.Tx) error { return c.bury(ctx, tx, key, rule) })
}

// bury turns an entry into a tombstone.
func (c *Cache) bury(ctx context.Context, tx *sql.Tx, key plan.Key, rule string) error {
	seq, err := next(ctx, tx)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		INSERT OR REPLACE INTO tombstones (key, seq, project, pipeline, step, run, born, material, inputs, gone, rule)
		SELECT key, ?, project, pipeline, step, run, born, material, inputs, ?, ? FROM entries WHERE key = ?`,
		seq, c.now().UnixNano(), rule, key[:])
	if err != nil {
		return err
	}
	return leaveKey(ctx, tx, key)
}

// leaveKey deletes an entry, if there is one, and has its snapshot leave.
func leaveKey(ctx context.Context, tx *sql.Tx, key plan.Key) error {
	var name, ref string
	err := tx.QueryRowContext(ctx, `DELETE FROM entries WHERE key = ? RETURNING runner, ref`, key[:]).Scan(&name, &ref)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return leave(ctx, tx, name, runner.SnapshotRef(ref))
}

// leave notes that nobody needs a snapshot any more. From here on until it is
// reaped, whoever collects knows of it, also after a crash.
func leave(ctx context.Context, tx *sql.Tx, runnerName string, ref runner.SnapshotRef) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM holds WHERE runner = ? AND ref = ?`, runnerName, string(ref))
	if err == nil {
		_, err = tx.ExecContext(ctx, `INSERT OR IGNORE INTO leaving (runner, ref) VALUES (?, ?)`, runnerName, string(ref))
	}
	return err
}

// reapAtOnce bounds how many snapshots are reaped by one call.
const reapAtOnce = 256

// reap has snapshots removed that nobody needs any more, with their logs, and
// returns how many bytes that freed. Those of runners that are not there stay.
func (c *Cache) reap(ctx context.Context, reapers map[string]runner.SnapshotReaper) (freed int64, err error) {
	var failed error
	for name, reaper := range reapers {
		for {
			n, refs, err := c.reapSome(ctx, name, reaper)
			freed += n
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("remove snapshots of the runner %s: %w", name, err))
				break
			}
			if refs == 0 {
				break
			}
		}
	}
	return freed, failed
}

func (c *Cache) reapSome(ctx context.Context, name string, reaper runner.SnapshotReaper) (freed int64, n int, err error) {
	refs, err := c.leaving(ctx, name)
	if err != nil || len(refs) == 0 {
		return 0, 0, err
	}
	if err := reaper.ReapSnapshots(ctx, refs); err != nil {
		return 0, 0, err
	}
	if err := fault.Point("cache: reaped"); err != nil {
		return 0, 0, err
	}
	for _, ref := range refs {
		if err := os.RemoveAll(c.logPath(name, ref)); err != nil {
			return 0, 0, err
		}
	}
	err = c.db.Update(ctx, func(tx *sql.Tx) error {
		for _, ref := range refs {
			if _, err := tx.ExecContext(ctx, `DELETE FROM leaving WHERE runner = ? AND ref = ?`, name, string(ref)); err != nil {
				return err
			}
		}
		freed, err = dropParts(ctx, tx, name)
		return err
	})
	return freed, len(refs), err
}

// dropParts deletes the parts that nobody holds and returns their bytes.
func dropParts(ctx context.Context, tx *sql.Tx, name string) (freed int64, err error) {
	const orphans = `FROM parts WHERE runner = ?1 AND NOT EXISTS (SELECT 1 FROM holds WHERE holds.runner = parts.runner AND holds.part = parts.id)`
	if err := tx.QueryRowContext(ctx, `SELECT coalesce(sum(bytes), 0) `+orphans, name).Scan(&freed); err != nil {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, `DELETE `+orphans, name)
	return freed, err
}

func (c *Cache) leaving(ctx context.Context, name string) (refs []runner.SnapshotRef, err error) {
	rows, err := c.db.QueryContext(ctx, `SELECT ref FROM leaving WHERE runner = ? LIMIT ?`, name, reapAtOnce)
	if err != nil {
		return nil, c.db.Explain(err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what went wrong
	for rows.Next() {
		var ref string
		if err := rows.Scan(&ref); err != nil {
			return nil, c.db.Explain(err)
		}
		refs = append(refs, runner.SnapshotRef(ref))
	}
	return refs, c.db.Explain(rows.Err())
}

// Unnamed returns those of a runner's snapshots that no record names.
func (c *Cache) Unnamed(ctx context.Context, runnerName string, refs []runner.SnapshotRef) ([]runner.SnapshotRef, error) {
	var unnamed []runner.SnapshotRef
	for _, ref := range refs {
		var named bool
		err := c.db.QueryRowContext(ctx, `
			SELECT EXISTS (SELECT 1 FROM entries WHERE runner = ?1 AND ref = ?2) OR EXISTS (SELECT 1 FROM failures WHERE runner = ?1 AND ref = ?2)`,
			runnerName, string(ref)).Scan(&named)
		if err != nil {
			return nil, c.db.Explain(err)
		}
		if !named {
			unnamed = append(unnamed, ref)
		}
	}
	return unnamed, nil
}
