package cache

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

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

// failures are the limits of kept failures, which may have half of the room at
// most: the rest is for results.
func (l Limits) failures() FailureLimits {
	f := l.Failures
	f.Bytes = min(f.Bytes, l.MaxBytes/2)
	return f
}

// Report is what a collection did.
type Report struct {
	Removed  int            // results
	Failures int            // kept failures
	Freed    pipeline.Bytes // disk blocks
	Used     pipeline.Bytes // what is left
	Busy     bool           // another process collects: nothing was done
}

// Collect removes what exceeds the limits, the least recently used results
// first, and one that others build on only after those. Where that is not
// enough, kept failures go, the oldest first, and what they build on. Pinned
// results and those that a living run has in use stay, with all that they need. free returns the
// bytes that are free on the file system. Where another process collects at the
// moment, it does nothing.
//
// A collection that ends early, also by the death of its process, leaves
// nothing but work for the next.
func (c *Cache) Collect(ctx context.Context, limits Limits, reapers map[string]runner.SnapshotReaper, free func() (int64, error)) (Report, error) {
	used, inOrder, err := c.inOrder(ctx, limits, free)
	if err != nil || inOrder {
		return Report{Used: used}, err
	}
	return c.collecting(ctx, false, reapers, func(now *collection) error {
		var failures int
		err := c.db.Update(ctx, func(tx *sql.Tx) (err error) {
			failures, err = c.forgetFailures(ctx, tx, limits.failures())
			return err
		})
		if err == nil {
			now.report.Failures += failures
			err = now.reap(ctx)
		}
		for err == nil {
			var e *eviction
			if e, err = c.excess(ctx, limits, free); err != nil || e == nil {
				return err
			}
			before := now.report.Removed
			if err = now.evict(ctx, e); err != nil || now.report.Removed > before {
				continue
			}
			var gone bool
			if gone, err = now.giveUpFailure(ctx, e); err == nil && !gone {
				return nil // all that is left has to stay
			}
		}
		return err
	})
}

// inOrder reports whether a collection has nothing to do. One look tells that
// after most runs, in a fifth of the time that a collection takes at least.
func (c *Cache) inOrder(ctx context.Context, limits Limits, free func() (int64, error)) (used pipeline.Bytes, inOrder bool, err error) {
	var waiting bool
	err = c.db.QueryRowContext(ctx, `
		SELECT (SELECT coalesce(sum(bytes), 0) FROM parts),
			EXISTS (SELECT 1 FROM failures) OR EXISTS (SELECT 1 FROM leaving)
			OR (SELECT count(*) FROM entries) > ? OR (SELECT count(*) FROM tombstones) > ?`, keptSmall, keptTombstones).
		Scan(&used, &waiting)
	if err != nil {
		return 0, false, c.db.Explain(err)
	}
	if waiting || used > limits.MaxBytes || used > 0 && !c.hasReserve() {
		return used, false, nil
	}
	space, err := free()
	if err != nil {
		return used, false, fmt.Errorf("look for free space: %w", err)
	}
	return used, used <= limits.KeepBytes || space >= int64(limits.MinFreeBytes), nil
}

// Selection says which results to prune. A result goes if it matches all that is set.
type Selection struct {
	Project string        // only this project's; empty for all
	Steps   []string      // only those of these steps; empty for all
	Unused  time.Duration // only those that were not used for so long; 0 for all
}

// Matches reports whether a result goes.
func (s Selection) Matches(e *Listed, now time.Time) bool {
	switch {
	case e.Pinned,
		s.Project != "" && e.Step.Project != s.Project,
		s.Unused > 0 && now.Sub(e.UsedAt) < s.Unused:
		return false
	}
	return len(s.Steps) == 0 || slices.Contains(s.Steps, e.Step.Step)
}

// Prune removes the results that match, but none that is pinned. It waits for
// another process that collects.
func (c *Cache) Prune(ctx context.Context, sel Selection, reapers map[string]runner.SnapshotReaper) (Report, error) {
	return c.collecting(ctx, true, reapers, func(now *collection) error {
		entries, err := c.List(ctx)
		if err != nil {
			return err
		}
		entries = slices.DeleteFunc(entries, func(e Listed) bool { return !sel.Matches(&e, c.now()) })
		for batch := range slices.Chunk(entries, now.atOnce) {
			removed := 0
			err := c.db.UpdateDurable(ctx, func(tx *sql.Tx) error {
				for i := range batch {
					gone, err := c.prune(ctx, tx, batch[i].Key)
					if err != nil {
						return err
					}
					if gone {
						removed++
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
			now.report.Removed += removed
			if err := now.reap(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *Cache) prune(ctx context.Context, tx *sql.Tx, key plan.Key) (gone bool, err error) {
	err = tx.QueryRowContext(ctx, `SELECT 1 FROM entries WHERE key = ? AND pinned = 0`, key[:]).Scan(new(int))
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, c.bury(ctx, tx, key[:], "by strata cache prune")
}

// collection is one that is going on.
type collection struct {
	*Cache
	report  Report
	reapers map[string]runner.SnapshotReaper
	atOnce  int // how many results one transaction removes at most
}

const (
	manyAtOnce = 256
	fewAtOnce  = 8 // where the disk is full
)

// collecting calls fn with the right to collect, which it may wait for, and then
// puts in order what is left. On a full disk it calls fn once more, with what was
// kept in reserve.
func (c *Cache) collecting(ctx context.Context, wait bool, reapers map[string]runner.SnapshotReaper, fn func(*collection) error) (Report, error) {
	lock, err := c.lockCollection(ctx, wait)
	if err != nil || lock == nil {
		return Report{Busy: true}, err
	}
	defer lock.Close()
	now := &collection{Cache: c, reapers: reapers, atOnce: manyAtOnce}
	err = now.carryOut(ctx, fn)
	if runner.IsDiskFull(err) {
		now.atOnce = fewAtOnce
		if err = c.giveUpReserve(); err == nil {
			err = now.carryOut(ctx, fn)
		}
	}
	used, usedErr := c.used(ctx)
	now.report.Used = pipeline.Bytes(used)
	err = errors.Join(err, usedErr)
	if err == nil && used > 0 {
		if err = c.fillReserve(); runner.IsDiskFull(err) {
			err = nil // a later collection may have the room
		}
	}
	return now.report, err
}

// lockCollection returns the file that whoever collects has locked, nil if
// another process has it.
func (c *Cache) lockCollection(ctx context.Context, wait bool) (*os.File, error) {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return nil, fmt.Errorf("collect: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(c.dir, "collect.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("collect: %w", err)
	}
	locked, err := filelock.Try(lock, filelock.Exclusive)
	if err == nil && !locked && wait {
		err = filelock.LockContext(ctx, lock, filelock.Exclusive)
		locked = err == nil
	}
	if err != nil || !locked {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// carryOut calls fn and forgets what has no bytes to be counted.
func (now *collection) carryOut(ctx context.Context, fn func(*collection) error) error {
	if err := errors.Join(fn(now), now.reap(ctx)); err != nil {
		return err
	}
	return now.db.Update(ctx, func(tx *sql.Tx) error {
		if err := now.forgetSmall(ctx, tx); err != nil {
			return err
		}
		return forgetOld(ctx, tx)
	})
}

// reap has all snapshots removed that nobody needs any more.
func (now *collection) reap(ctx context.Context) error {
	freed, err := now.Cache.reap(ctx, now.reapers)
	now.report.Freed += pipeline.Bytes(freed)
	return err
}

// used returns how many bytes all kept snapshots hold, with those that are to
// be reaped.
func (c *Cache) used(ctx context.Context) (bytes int64, err error) {
	err = c.db.QueryRowContext(ctx, `SELECT (SELECT coalesce(sum(bytes), 0) FROM parts) + (SELECT coalesce(sum(bytes), 0) FROM leaving)`).Scan(&bytes)
	return bytes, c.db.Explain(err)
}

// excess returns what has to be evicted, nil if nothing has to.
func (c *Cache) excess(ctx context.Context, limits Limits, free func() (int64, error)) (*eviction, error) {
	used, err := c.used(ctx)
	if err != nil {
		return nil, err
	}
	e := &eviction{cache: c, spare: math.MaxInt64, waiting: map[snapshot][]candidate{}, left: map[snapshot]bool{}}
	e.need, e.rule = used-int64(limits.MaxBytes), fmt.Sprintf("to stay below max_bytes (%v)", limits.MaxBytes)
	if e.need <= 0 {
		space, err := free()
		if err != nil {
			return nil, fmt.Errorf("look for free space: %w", err)
		}
		e.spare = used - int64(limits.KeepBytes)
		e.need, e.rule = min(int64(limits.MinFreeBytes)-space, e.spare), fmt.Sprintf("to leave min_free_bytes (%v) free", limits.MinFreeBytes)
	}
	if e.need <= 0 {
		return nil, nil
	}
	return e, nil
}
