package cache

import (
	"context"
	"database/sql"
	"time"

	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// Listed is a result with what it costs and saves.
type Listed struct {
	Key      plan.Key
	Step     plan.StepID
	Runner   string
	Ref      runner.SnapshotRef
	Run      string
	Born     time.Time
	UsedAt   time.Time
	Uses     int
	Duration time.Duration  // of the command: what each use saves
	Bytes    pipeline.Bytes // all that its snapshot holds
	Own      pipeline.Bytes // of that, what nothing else holds
	Pinned   bool
}

// Saved is how much time the result has saved so far.
func (l *Listed) Saved() time.Duration { return time.Duration(l.Uses) * l.Duration }

// List returns all results, the most recently used first.
func (c *Cache) List(ctx context.Context) (list []Listed, err error) {
	rows, err := c.db.QueryContext(ctx, `
		SELECT key, project, pipeline, step, runner, ref, run, born, used_at, uses, duration_ms, pinned,
			(SELECT coalesce(sum(p.bytes), 0) FROM holds h JOIN parts p ON p.runner = h.runner AND p.id = h.part
				WHERE h.runner = e.runner AND h.ref = e.ref),
			(SELECT coalesce(sum(p.bytes), 0) FROM holds h JOIN parts p ON p.runner = h.runner AND p.id = h.part
				WHERE h.runner = e.runner AND h.ref = e.ref
				AND NOT EXISTS (SELECT 1 FROM holds o WHERE o.runner = h.runner AND o.part = h.part AND o.ref <> h.ref))
		FROM entries e ORDER BY used DESC, seq DESC`)
	if err != nil {
		return nil, c.db.Explain(err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what went wrong
	for rows.Next() {
		var l Listed
		var key []byte
		var born, used int64
		var ms float64
		err := rows.Scan(&key, &l.Step.Project, &l.Step.Pipeline, &l.Step.Step, &l.Runner, &l.Ref, &l.Run,
			&born, &used, &l.Uses, &ms, &l.Pinned, &l.Bytes, &l.Own)
		if err != nil {
			return nil, c.db.Explain(err)
		}
		copy(l.Key[:], key)
		l.Born, l.UsedAt = time.Unix(0, born), time.Unix(0, used)
		l.Duration = time.Duration(ms * float64(time.Millisecond))
		list = append(list, l)
	}
	return list, c.db.Explain(rows.Err())
}

// Usage is what all kept snapshots hold, in disk blocks.
type Usage struct {
	Results  pipeline.Bytes `json:"results"`  // what results hold
	Failures pipeline.Bytes `json:"failures"` // what only kept failures hold
	Leaving  pipeline.Bytes `json:"leaving"`  // what is to be removed next
	Pinned   pipeline.Bytes `json:"pinned"`   // of the results, what pinned ones hold
	Entries  int            `json:"entries"`
	Failed   int            `json:"failed"` // kept failures
}

// Total is all of it.
func (u Usage) Total() pipeline.Bytes { return u.Results + u.Failures + u.Leaving }

// Usage measures what is kept.
func (c *Cache) Usage(ctx context.Context) (u Usage, err error) {
	const held = `SELECT coalesce(sum(bytes), 0) FROM parts p WHERE `
	const by = `EXISTS (SELECT 1 FROM holds h JOIN entries e ON e.runner = h.runner AND e.ref = h.ref WHERE h.runner = p.runner AND h.part = p.id`
	err = c.db.View(ctx, func(tx *sql.Tx) error {
		for _, q := range []struct {
			query string
			to    any
		}{
			{held + by + `)`, &u.Results},
			{held + by + ` AND e.pinned = 1)`, &u.Pinned},
			{held + `NOT ` + by + `)`, &u.Failures},
			{`SELECT coalesce(sum(bytes), 0) FROM leaving`, &u.Leaving},
			{`SELECT count(*) FROM entries`, &u.Entries},
			{`SELECT count(*) FROM failures`, &u.Failed},
		} {
			if err := tx.QueryRowContext(ctx, q.query).Scan(q.to); err != nil {
				return err
			}
		}
		return nil
	})
	return u, err
}

// Pin makes a result stay whatever the limits say, or ends that.
func (c *Cache) Pin(ctx context.Context, key plan.Key, pinned bool) error {
	return c.db.Update(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE entries SET pinned = ? WHERE key = ?`, pinned, key[:])
		return err
	})
}
