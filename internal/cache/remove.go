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
	return c.db.Update(ctx, func(tx *sql.Tx) error { return c.bury(ctx, tx, key[:], rule) })
}

// bury turns an entry into a tombstone.
func (c *Cache) bury(ctx context.Context, tx *sql.Tx, key []byte, rule string) error {
	seq, err := next(ctx, tx)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		INSERT OR REPLACE INTO tombstones (key, seq, project, pipeline, step, run, born, material, inputs, gone, rule)
		SELECT key, ?, project, pipeline, step, run, born, material, inputs, ?, ? FROM entries WHERE key = ?`,
		seq, c.now().UnixNano(), rule, key)
	if err != nil {
		return err
	}
	return leaveKey(ctx, tx, key)
}

// leaveKey deletes an entry, if there is one, and has its snapshot leave.
func leaveKey(ctx context.Context, tx *sql.Tx, key []byte) error {
	var s snapshot
	err := tx.QueryRowContext(ctx, `DELETE FROM entries WHERE key = ? RETURNING runner, ref`, key).Scan(&s.runner, &s.ref)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return leave(ctx, tx, s)
}

// snapshot names a kept snapshot among those of all runners.
type snapshot struct {
	runner string
	ref    runner.SnapshotRef
}

// valid reports whether both names can be what their writers write, and so are
// safe as file names. In damaged records they may be anything.
func (s snapshot) valid() bool { return safeName(s.runner) && safeName(string(s.ref)) }

// safeName holds a name against the rule of runner.SnapshotRef.
func safeName(name string) bool {
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return name != "" && name != "." && name != ".." && len(name) <= 128
}

// leave notes that nobody needs a snapshot any more. From here on until it is
// reaped, whoever collects knows of it, also after a crash.
func leave(ctx context.Context, tx *sql.Tx, s snapshot) error {
	bytes, err := own(ctx, tx, s)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		DELETE FROM parts WHERE runner = ?1 AND id IN (`+ownParts+`)`, s.runner, string(s.ref))
	if err == nil {
		_, err = tx.ExecContext(ctx, `DELETE FROM holds WHERE runner = ? AND ref = ?`, s.runner, string(s.ref))
	}
	if err == nil {
		_, err = tx.ExecContext(ctx, `INSERT INTO leaving (runner, ref, bytes) VALUES (?1, ?2, ?3)
			ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes`, s.runner, string(s.ref), bytes)
	}
	return err
}

// ownParts selects the parts that only the snapshot ?2 of the runner ?1 holds.
const ownParts = `SELECT mine.part FROM holds mine WHERE mine.runner = ?1 AND mine.ref = ?2
	AND NOT EXISTS (SELECT 1 FROM holds o WHERE o.runner = ?1 AND o.part = mine.part AND o.ref <> ?2)`

// own returns how many bytes only this snapshot holds.
func own(ctx context.Context, tx *sql.Tx, s snapshot) (bytes int64, err error) {
	err = tx.QueryRowContext(ctx, `SELECT coalesce(sum(bytes), 0) FROM parts WHERE runner = ?1 AND id IN (`+ownParts+`)`,
		s.runner, string(s.ref)).Scan(&bytes)
	return bytes, err
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
	refs, freed, err := c.leaving(ctx, name)
	if err != nil || len(refs) == 0 {
		return 0, 0, err
	}
	valid := make([]runner.SnapshotRef, 0, len(refs))
	for _, ref := range refs {
		if (snapshot{name, ref}).valid() { // no runner made one of another name
			valid = append(valid, ref)
		}
	}
	if err := reaper.ReapSnapshots(ctx, valid); err != nil {
		return 0, 0, err
	}
	if err := fault.Point("cache: reaped"); err != nil {
		return 0, 0, err
	}
	for _, ref := range valid {
		if err := os.RemoveAll(c.logPath(name, ref)); err != nil {
			return 0, 0, err
		}
	}
	err = c.db.Update(ctx, func(tx *sql.Tx) error {
		done, err := tx.PrepareContext(ctx, `DELETE FROM leaving WHERE runner = ? AND ref = ?`)
		if err != nil {
			return err
		}
		defer done.Close() //nolint:errcheck // it ends with the transaction
		for _, ref := range refs {
			if _, err := done.ExecContext(ctx, name, string(ref)); err != nil {
				return err
			}
		}
		return nil
	})
	return freed, len(refs), err
}

// leaving returns some of a runner's snapshots that are to be reaped, and the
// bytes that this frees.
func (c *Cache) leaving(ctx context.Context, name string) (refs []runner.SnapshotRef, bytes int64, err error) {
	rows, err := c.db.QueryContext(ctx, `SELECT ref, bytes FROM leaving WHERE runner = ? LIMIT ?`, name, reapAtOnce)
	if err != nil {
		return nil, 0, c.db.Explain(err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what went wrong
	for rows.Next() {
		var ref runner.SnapshotRef
		var n int64
		if err := rows.Scan(&ref, &n); err != nil {
			return nil, 0, c.db.Explain(err)
		}
		refs = append(refs, ref)
		bytes += n
	}
	return refs, bytes, c.db.Explain(rows.Err())
}

// keptSmall is how many results are kept that hold nothing but a row, so that
// no limit in bytes counts them.
const keptSmall = 20_000

// forgetSmall removes results that hold nothing, beyond the most recently used.
func (c *Cache) forgetSmall(ctx context.Context, tx *sql.Tx) error {
	var entries int
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM entries`).Scan(&entries); err != nil || entries <= keptSmall {
		return err
	}
	rows, err := tx.QueryContext(ctx, `SELECT key FROM entries e
		WHERE pinned = 0 AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.runner = e.runner AND h.ref = e.ref)
		ORDER BY used DESC, seq LIMIT ? OFFSET ?`, manyAtOnce, keptSmall)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what went wrong
	var keys [][]byte
	for rows.Next() {
		var key []byte
		if err := rows.Scan(&key); err != nil {
			return err
		}
		keys = append(keys, key)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, key := range keys {
		if err := c.bury(ctx, tx, key, "to keep no more results than can be looked through"); err != nil {
			return err
		}
	}
	return nil
}

// forgetOld deletes tombstones beyond the newest, and the lists of inputs that
// only they referred to.
func forgetOld(ctx context.Context, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, `
		DELETE FROM tombstones WHERE seq <= (SELECT seq FROM tombstones ORDER BY seq DESC LIMIT 1 OFFSET ?) RETURNING inputs`, keptTombstones)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what went wrong
	var lists [][]byte
	for rows.Next() {
		var list []byte
		if err := rows.Scan(&list); err != nil {
			return err
		}
		lists = append(lists, list)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, list := range lists {
		_, err := tx.ExecContext(ctx, `DELETE FROM inputs WHERE digest = ?1 AND NOT EXISTS (SELECT 1 FROM entries WHERE inputs = ?1)
			AND NOT EXISTS (SELECT 1 FROM tombstones WHERE inputs = ?1)`, list)
		if err != nil {
			return err
		}
	}
	return nil
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
