package cache

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/strata-ci/strata/internal/fault"
	"github.com/strata-ci/strata/internal/filelock"
	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// Limits bound what is kept, in disk blocks of all that results and failures
// hold.
type Limits struct {
	MaxBytes     pipeline.Bytes // never more than this
	MinFreeBytes pipeline.Bytes // leave so much of the file system free …
	KeepBytes    pipeline.Bytes // … but do not go below this for it
	Failures     FailureLimits
}

// Report is what a collection did.
type Report struct {
	Removed int            // results
	Freed   pipeline.Bytes // disk blocks
	Used    pipeline.Bytes // what is left
}

// Collect removes what exceeds the limits, the least recently used results
// first, and one that others build on only after those. Pinned ones stay, with
// all that they need. free returns the bytes that are free on the file system.
// Where another process collects at the moment, it does nothing.
//
// A collection that ends early, also by the death of its process, leaves
// nothing but work for the next.
func (c *Cache) Collect(ctx context.Context, limits Limits, reapers map[string]runner.SnapshotReaper, free func() (int64, error)) (Report, error) {
	return c.collecting(ctx, reapers, func(r *Report) error {
		err := c.db.Update(ctx, func(tx *sql.Tx) error { return c.forgetFailures(ctx, tx, limits.Failures) })
		if err != nil {
			return err
		}
		if err := c.reapInto(ctx, reapers, r); err != nil {
			return err
		}
		for {
			need, rule, err := c.excess(ctx, limits, free)
			if err != nil || need <= 0 {
				return err
			}
			n, err := c.evict(ctx, need, rule)
			r.Removed += n
			if err := errors.Join(err, c.reapInto(ctx, reapers, r)); err != nil || n == 0 {
				return err
			}
		}
	})
}

// collecting calls fn with the right to collect, and then puts in order what
// is left.
func (c *Cache) collecting(ctx context.Context, reapers map[string]runner.SnapshotReaper, fn func(*Report) error) (r Report, err error) {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return r, fmt.Errorf("collect: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(c.dir, "collect.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return r, fmt.Errorf("collect: %w", err)
	}
	defer lock.Close() //nolint:errcheck // nothing was written
	free, err := filelock.Try(lock, filelock.Exclusive)
	if err != nil || !free {
		return r, err
	}
	err = errors.Join(fn(&r), c.reapInto(ctx, reapers, &r), c.forget(ctx))
	used, usedErr := c.used(ctx)
	r.Used = pipeline.Bytes(used)
	return r, errors.Join(err, usedErr)
}

func (c *Cache) reapInto(ctx context.Context, reapers map[string]runner.SnapshotReaper, r *Report) error {
	freed, err := c.reap(ctx, reapers)
	r.Freed += pipeline.Bytes(freed)
	return err
}

// used returns how many bytes all kept snapshots hold.
func (c *Cache) used(ctx context.Context) (bytes int64, err error) {
	err = c.db.QueryRowContext(ctx, `SELECT coalesce(sum(bytes), 0) FROM parts`).Scan(&bytes)
	return bytes, c.db.Explain(err)
}

// excess returns how many bytes have to go, and by which rule.
func (c *Cache) excess(ctx context.Context, limits Limits, free func() (int64, error)) (need int64, rule string, err error) {
	used, err := c.used(ctx)
	if err != nil {
		return 0, "", err
	}
	if need = used - int64(limits.MaxBytes); need > 0 {
		return need, fmt.Sprintf("to stay below max_bytes (%v)", limits.MaxBytes), nil
	}
	space, err := free()
	if err != nil {
		return 0, "", fmt.Errorf("look for free space: %w", err)
	}
	need = min(int64(limits.MinFreeBytes)-space, used-int64(limits.KeepBytes))
	return need, fmt.Sprintf("to leave min_free_bytes (%v) free", limits.MinFreeBytes), nil
}

// evictAtOnce bounds how many results one transaction removes.
const evictAtOnce = 256

// candidate is a result that may have to go.
type candidate struct {
	key         plan.Key
	runner, ref string
	used, seq   int64
}

// evict removes results until need bytes are free, or evictAtOnce of them, and
// returns how many.
func (c *Cache) evict(ctx context.Context, need int64, rule string) (removed int, err error) {
	err = c.db.UpdateDurable(ctx, func(tx *sql.Tx) error {
		e := eviction{cache: c, tx: tx, need: need, rule: rule}
		removed = 0
		if err := e.pass(ctx); err != nil {
			return err
		}
		removed = e.removed
		return fault.Point("cache: evict")
	})
	return removed, err
}

// eviction is one transaction of removing results.
type eviction struct {
	cache   *Cache
	tx      *sql.Tx
	need    int64
	rule    string
	removed int
}

func (e *eviction) done() bool { return e.need <= 0 || e.removed >= evictAtOnce }

// pass goes through the results, the least recently used first; of those that
// were used at the same time, the youngest first, for it may build on the others.
func (e *eviction) pass(ctx context.Context) error {
	after := candidate{used: -1}
	for !e.done() {
		batch, err := e.next(ctx, after)
		if err != nil || len(batch) == 0 {
			return err
		}
		for _, one := range batch {
			if err := e.try(ctx, one); err != nil || e.done() {
				return err
			}
		}
		after = batch[len(batch)-1]
	}
	return nil
}

func (e *eviction) next(ctx context.Context, after candidate) ([]candidate, error) {
	return e.candidates(ctx, `
		SELECT key, runner, ref, used, seq FROM entries
		WHERE pinned = 0 AND (used > ?1 OR used = ?1 AND seq < ?2) ORDER BY used, seq DESC LIMIT ?3`,
		after.used, after.seq, evictAtOnce)
}

func (e *eviction) candidates(ctx context.Context, query string, args ...any) (list []candidate, err error) {
	rows, err := e.tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what went wrong
	for rows.Next() {
		var one candidate
		var key []byte
		if err := rows.Scan(&key, &one.runner, &one.ref, &one.used, &one.seq); err != nil {
			return nil, err
		}
		copy(one.key[:], key)
		list = append(list, one)
	}
	return list, rows.Err()
}

// try removes a result unless others build on it, and then those that only it
// was built on and that were used even longer ago.
func (e *eviction) try(ctx context.Context, one candidate) error {
	blocked, err := e.blocked(ctx, one)
	if err != nil || blocked {
		return err
	}
	below, err := e.below(ctx, one)
	if err != nil {
		return err
	}
	if err := e.remove(ctx, one); err != nil {
		return err
	}
	for _, parent := range below {
		if e.done() {
			return nil
		}
		blocked, err := e.blocked(ctx, parent)
		if err == nil && !blocked {
			err = e.remove(ctx, parent)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// blocked reports whether another snapshot holds what this one does and more.
func (e *eviction) blocked(ctx context.Context, one candidate) (blocked bool, err error) {
	err = e.tx.QueryRowContext(ctx, `
		WITH mine AS (SELECT part FROM holds WHERE runner = ?1 AND ref = ?2),
		rarest AS (SELECT part FROM mine ORDER BY (SELECT count(*) FROM holds h WHERE h.runner = ?1 AND h.part = mine.part) LIMIT 1)
		SELECT EXISTS (
			SELECT 1 FROM holds o WHERE o.runner = ?1 AND o.part = (SELECT part FROM rarest) AND o.ref <> ?2
			AND (SELECT count(*) FROM holds a WHERE a.runner = ?1 AND a.ref = o.ref) > (SELECT count(*) FROM mine)
			AND NOT EXISTS (SELECT 1 FROM mine WHERE NOT EXISTS (
				SELECT 1 FROM holds b WHERE b.runner = ?1 AND b.ref = o.ref AND b.part = mine.part)))`,
		one.runner, one.ref).Scan(&blocked)
	return blocked, err
}

// below returns what a result builds on and was used before it, the nearest first.
func (e *eviction) below(ctx context.Context, one candidate) ([]candidate, error) {
	return e.candidates(ctx, `
		SELECT DISTINCT e.key, e.runner, e.ref, e.used, e.seq FROM holds mine
		JOIN holds other ON other.runner = mine.runner AND other.part = mine.part AND other.ref <> mine.ref
		JOIN entries e ON e.runner = other.runner AND e.ref = other.ref
		WHERE mine.runner = ?1 AND mine.ref = ?2 AND e.pinned = 0 AND e.used < ?3
		ORDER BY (SELECT count(*) FROM holds h WHERE h.runner = e.runner AND h.ref = e.ref) DESC`,
		one.runner, one.ref, one.used)
}

func (e *eviction) remove(ctx context.Context, one candidate) error {
	var freed int64
	err := e.tx.QueryRowContext(ctx, `
		SELECT coalesce(sum(p.bytes), 0) FROM holds h JOIN parts p ON p.runner = h.runner AND p.id = h.part
		WHERE h.runner = ?1 AND h.ref = ?2
		AND NOT EXISTS (SELECT 1 FROM holds o WHERE o.runner = h.runner AND o.part = h.part AND o.ref <> h.ref)`,
		one.runner, one.ref).Scan(&freed)
	if err != nil {
		return err
	}
	if err := e.cache.bury(ctx, e.tx, one.key, e.rule); err != nil {
		return err
	}
	e.need -= freed
	e.removed++
	return nil
}

// forget deletes tombstones beyond the newest, and lists of inputs that nothing
// refers to.
func (c *Cache) forget(ctx context.Context) error {
	return c.db.Update(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM tombstones WHERE seq <= (SELECT seq FROM tombstones ORDER BY seq DESC LIMIT 1 OFFSET ?)`, keptTombstones)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM inputs WHERE NOT EXISTS (SELECT 1 FROM entries e WHERE e.inputs = inputs.digest)
			AND NOT EXISTS (SELECT 1 FROM tombstones t WHERE t.inputs = inputs.digest)`)
		return err
	})
}

// Selection says which results to prune. A result goes if it matches all that is set.
type Selection struct {
	Project string        // only this project's; empty for all
	Steps   []string      // only those of these steps; empty for all
	Unused  time.Duration // only those that were not used for so long; 0 for all
}

// Prune removes the results that match, but none that is pinned.
func (c *Cache) Prune(ctx context.Context, sel Selection, reapers map[string]runner.SnapshotReaper) (Report, error) {
	const rule = "by strata cache prune"
	return c.collecting(ctx, reapers, func(r *Report) error {
		entries, err := c.List(ctx)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if !sel.Matches(&e, c.now()) {
				continue
			}
			if err := c.Remove(ctx, e.Key, rule); err != nil {
				return err
			}
			r.Removed++
		}
		return nil
	})
}

// Matches reports whether a result goes.
func (s Selection) Matches(e *Listed, now time.Time) bool {
	if e.Pinned || s.Project != "" && e.Step.Project != s.Project || s.Unused > 0 && now.Sub(e.UsedAt) < s.Unused {
		return false
	}
	for _, step := range s.Steps {
		if e.Step.Step == step {
			return true
		}
	}
	return len(s.Steps) == 0
}
