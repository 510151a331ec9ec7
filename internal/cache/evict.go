package cache

import (
	"context"
	"database/sql"
	"errors"

	"github.com/strata-ci/strata/internal/fault"
	"github.com/strata-ci/strata/runner"
)

const (
	// lookAtOnce bounds how many are looked at by one query.
	lookAtOnce = 1024
	// maxWaiting bounds how many of those that others build on are remembered.
	// The next collection finds the rest.
	maxWaiting = 16 << 10
)

// candidate is a result that may have to go.
type candidate struct {
	key []byte
	snapshot
	used, seq int64
	// above is a snapshot of the same runner that holds all that this one does,
	// and more; empty if there is none.
	above runner.SnapshotRef
}

// eviction goes once through the results that hold anything, the least recently used first; of
// those that were used at the same time, the youngest first, for it may build on
// the others. One that another builds on waits for that one to go. It takes one
// transaction after another, so that nobody waits for it for long.
type eviction struct {
	cache *Cache
	need  int64 // bytes that are still to be freed
	spare int64 // bytes that may be freed at most
	rule  string
	floor int64 // what was used after this is in use by a living run; of the round

	after   candidate         // the last one that was looked at
	left    map[snapshot]bool // what has gone since the last ones were looked up
	waiting map[snapshot][]candidate
	waits   int
	removed int
	over    bool // enough is free, or all were looked at
}

// evict carries out an eviction.
func (now *collection) evict(ctx context.Context, e *eviction) error {
	for !e.over {
		before := e.removed
		err := now.db.UpdateDurable(ctx, func(tx *sql.Tx) error {
			if err := e.round(ctx, tx, now.atOnce); err != nil {
				return err
			}
			if err := forgetOld(ctx, tx); err != nil {
				return err
			}
			return fault.Point("cache: evict")
		})
		if err != nil {
			return err
		}
		now.report.Removed += e.removed - before
		if err := now.reap(ctx); err != nil {
			return err
		}
	}
	return nil
}

// round removes results until enough is free, or so many of them. Who takes a
// result holds by then, and takes it before or after the transaction: so it is
// seen here, or sees that the result is gone.
func (e *eviction) round(ctx context.Context, tx *sql.Tx, atOnce int) (err error) {
	if e.floor, err = e.cache.oldestHold(); err != nil {
		return err
	}
	q, err := prepareQueries(ctx, tx)
	if err != nil {
		return err
	}
	defer q.close()
	for most := e.removed + atOnce; e.removed < most; {
		clear(e.left)
		batch, err := q.candidates(ctx, e.after, e.floor)
		if err != nil {
			return err
		}
		for _, one := range batch {
			e.after = one
			if err := e.try(ctx, tx, q, one); err != nil {
				return err
			}
			if e.need <= 0 {
				e.over = true
				return nil
			}
			if e.removed >= most {
				return nil
			}
		}
		if len(batch) < lookAtOnce {
			e.over = true
			return nil
		}
	}
	return nil
}

// try removes a result unless others build on it, and with it those that only
// waited for it.
func (e *eviction) try(ctx context.Context, tx *sql.Tx, q *queries, one candidate) error {
	if one.above != "" && e.left[snapshot{one.runner, one.above}] {
		return e.retry(ctx, tx, q, []candidate{one})
	}
	if one.above != "" {
		e.wait(one)
		return nil
	}
	gone, err := e.remove(ctx, tx, one)
	if err != nil || !gone {
		return err
	}
	return e.retry(ctx, tx, q, e.take(one.snapshot))
}

// retry tries results again after what was built on them has gone.
func (e *eviction) retry(ctx context.Context, tx *sql.Tx, q *queries, line []candidate) error {
	for ; len(line) > 0 && e.need > 0; line = line[1:] {
		again, err := q.again(ctx, line[0])
		if err != nil {
			return err
		}
		if again.above != "" {
			e.wait(again)
			continue
		}
		gone, err := e.remove(ctx, tx, again)
		if err != nil {
			return err
		}
		if gone {
			line = append(line, e.take(again.snapshot)...)
		}
	}
	return nil
}

// take returns those that wait for a snapshot, which do so no longer.
func (e *eviction) take(s snapshot) []candidate {
	waiting := e.waiting[s]
	e.waits -= len(waiting)
	delete(e.waiting, s)
	return waiting
}

func (e *eviction) wait(one candidate) {
	if e.waits < maxWaiting {
		e.waits++
		above := snapshot{one.runner, one.above}
		e.waiting[above] = append(e.waiting[above], one)
	}
}

// remove removes a result that is as it was when it was looked at, unless that
// would free more than may be.
func (e *eviction) remove(ctx context.Context, tx *sql.Tx, one candidate) (gone bool, err error) {
	err = tx.QueryRowContext(ctx, `SELECT 1 FROM entries WHERE key = ? AND pinned = 0 AND used = ? AND ref = ?`,
		one.key, one.used, string(one.ref)).Scan(new(int))
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	freed, err := own(ctx, tx, one.snapshot)
	if err != nil || freed > e.spare {
		return false, err
	}
	if err := e.cache.bury(ctx, tx, one.key, e.rule); err != nil {
		return false, err
	}
	e.need -= freed
	e.spare -= freed
	e.removed++
	e.left[one.snapshot] = true
	return true, nil
}

// queries look up results that may have to go.
type queries struct{ next, same *sql.Stmt }

// lookUp selects candidates. Whatever holds all parts of a snapshot holds the one
// that fewest hold.
const lookUp = `
	SELECT e.key, e.runner, e.ref, e.used, e.seq, coalesce((
		SELECT o.ref FROM holds o WHERE o.runner = e.runner AND o.ref <> e.ref AND o.part = (
			SELECT m.part FROM holds m WHERE m.runner = e.runner AND m.ref = e.ref
			ORDER BY (SELECT count(*) FROM (SELECT 1 FROM holds h WHERE h.runner = e.runner AND h.part = m.part LIMIT 8)) LIMIT 1)
		AND NOT EXISTS (
			SELECT 1 FROM holds m WHERE m.runner = e.runner AND m.ref = e.ref
			AND NOT EXISTS (SELECT 1 FROM holds b WHERE b.runner = e.runner AND b.ref = o.ref AND b.part = m.part))
		AND (SELECT count(*) FROM holds a WHERE a.runner = e.runner AND a.ref = o.ref)
			> (SELECT count(*) FROM holds m WHERE m.runner = e.runner AND m.ref = e.ref)
		LIMIT 1), '')
	FROM entries e `

func prepareQueries(ctx context.Context, tx *sql.Tx) (*queries, error) {
	next, err := tx.PrepareContext(ctx, lookUp+
		`WHERE pinned = 0 AND used >= ?1 AND used <= ?2 AND (used > ?1 OR seq < ?3)
		AND EXISTS (SELECT 1 FROM holds h WHERE h.runner = e.runner AND h.ref = e.ref) ORDER BY used, seq DESC LIMIT ?4`)
	if err != nil {
		return nil, err
	}
	same, err := tx.PrepareContext(ctx, lookUp+`WHERE key = ?`)
	if err != nil {
		_ = next.Close() // it ends with the transaction
		return nil, err
	}
	return &queries{next, same}, nil
}

func (q *queries) close() {
	_ = q.next.Close() // they end with the transaction
	_ = q.same.Close()
}

// candidates returns the results that come after one, the first of them, but
// none that was used after the floor.
func (q *queries) candidates(ctx context.Context, after candidate, floor int64) (list []candidate, err error) {
	rows, err := q.next.QueryContext(ctx, after.used, floor, after.seq, lookAtOnce)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what went wrong
	for rows.Next() {
		var one candidate
		if err := rows.Scan(&one.key, &one.runner, &one.ref, &one.used, &one.seq, &one.above); err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, rows.Err()
}

// again returns a result as it is now; one that is gone, as it was.
func (q *queries) again(ctx context.Context, one candidate) (candidate, error) {
	now := one
	err := q.same.QueryRowContext(ctx, one.key).Scan(&now.key, &now.runner, &now.ref, &now.used, &now.seq, &now.above)
	if errors.Is(err, sql.ErrNoRows) {
		one.above = ""
		return one, nil
	}
	now.used = one.used // or else it is not what had to go
	return now, err
}
