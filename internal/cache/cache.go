// Package cache keeps results of steps for later runs: which key led to which
// snapshot, from what, and what is left of results that are gone.
//
// In: results whose snapshots their runners have kept. Out: entries by key, with
// their material and their logs; the work that several runs need, done once; and
// the decision which results have to go, so that the disk does not fill. It
// never looks into a snapshot: those belong to their runners.
//
// Everything is ordered by numbers that only grow, never by the clock: a clock
// that jumps makes no result younger, older, or more in use.
package cache

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/internal/records"
	"github.com/strata-ci/strata/runner"
)

// Cache is the results of one state directory. Its methods may be called from
// many goroutines, and many processes may have it open.
type Cache struct {
	db  *records.DB
	dir string
	now func() time.Time

	selectEntry func() (*sql.Stmt, error) // prepared when it is first needed
}

// New returns the cache of some records. dir is a directory of its own for
// locks and logs, which is made when it is needed.
func New(db *records.DB, dir string, now func() time.Time) *Cache {
	return &Cache{
		db: db, dir: dir, now: now,
		selectEntry: sync.OnceValues(func() (*sql.Stmt, error) {
			return db.Prepare(`SELECT seq, run, step, born, runner, ref, duration_ms, log_bytes, pinned FROM entries WHERE key = ?`)
		}),
	}
}

func (c *Cache) locks() string { return filepath.Join(c.dir, "locks") }
func (c *Cache) logs() string  { return filepath.Join(c.dir, "logs") }

// Result is what a step has left, to be used again.
type Result struct {
	Key      plan.Key
	Step     plan.StepID
	Runner   string
	Ref      runner.SnapshotRef // a kept snapshot
	Run      string
	Duration time.Duration // of the command
	Material *plan.Material
	// Inputs returns the list whose digest is in Material; nil where there is none.
	Inputs func() []plan.Input
	// Log is the path of the step's log. It need not exist, if the step wrote nothing.
	Log   string
	Parts []runner.SnapshotPart
}

// Entry returns the result with a key, or nil. It is asked for every step of
// every run.
func (c *Cache) Entry(ctx context.Context, key plan.Key) (*plan.Entry, error) {
	find, err := c.selectEntry()
	if err != nil {
		return nil, c.db.Explain(err)
	}
	// One row by its key is there at once; to watch ctx meanwhile would take
	// longer: two goroutines, made and ended.
	row := find.QueryRowContext(context.WithoutCancel(ctx), key[:])
	e := &plan.Entry{Key: key}
	var born int64
	var ms float64
	err = row.Scan(&e.Seq, &e.Origin.Run, &e.Origin.Step, &born, &e.Runner, &e.Ref, &ms, &e.LogBytes, &e.Pinned)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, c.db.Explain(err)
	}
	if !(snapshot{e.Runner, e.Ref}).valid() {
		return nil, nil // the row is damaged; the next result takes its place
	}
	e.Origin.Time, e.Duration = time.Unix(0, born), time.Duration(ms*float64(time.Millisecond))
	return e, nil
}

// Gone returns what is left of a result that was removed, or nil.
func (c *Cache) Gone(ctx context.Context, key plan.Key) (*plan.Gone, error) {
	var g plan.Gone
	var born, gone int64
	err := c.db.QueryRowContext(ctx, `SELECT run, step, born, gone, rule FROM tombstones WHERE key = ?`, key[:]).
		Scan(&g.Origin.Run, &g.Origin.Step, &born, &gone, &g.Rule)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, c.db.Explain(err)
	}
	g.Origin.Time, g.Time = time.Unix(0, born), time.Unix(0, gone)
	return &g, nil
}

// Earlier returns the newest results of a step, at most n, the newest first;
// also what is left of those that are gone.
func (c *Cache) Earlier(ctx context.Context, id plan.StepID, n int) ([]plan.Earlier, error) {
	rows, err := c.db.QueryContext(ctx, `
		SELECT seq, run, step, born, material FROM entries WHERE project = ?1 AND pipeline = ?2 AND step = ?3
		UNION ALL
		SELECT seq, run, step, born, material FROM tombstones WHERE project = ?1 AND pipeline = ?2 AND step = ?3
		ORDER BY seq DESC LIMIT ?4`, id.Project, id.Pipeline, id.Step, n)
	if err != nil {
		return nil, c.db.Explain(err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what went wrong
	var found []plan.Earlier
	for rows.Next() {
		var e plan.Earlier
		var seq, born int64
		var material []byte
		if err := rows.Scan(&seq, &e.Origin.Run, &e.Origin.Step, &born, &material); err != nil {
			return nil, c.db.Explain(err)
		}
		if json.Unmarshal(material, &e.Material) != nil {
			continue // it explains nothing, and decides nothing either
		}
		e.Origin.Time = time.Unix(0, born)
		found = append(found, e)
	}
	return found, c.db.Explain(rows.Err())
}

// Inputs returns the list of inputs that has the digest; nil if it is not kept.
func (c *Cache) Inputs(ctx context.Context, list plan.Digest) ([]plan.Input, error) {
	var data []byte
	err := c.db.QueryRowContext(ctx, `SELECT list FROM inputs WHERE digest = ?`, list[:]).Scan(&data)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, c.db.Explain(err)
	}
	inputs, err := decodeInputs(data)
	if err != nil || plan.DigestInputs(inputs) != list {
		return nil, nil // a damaged list explains nothing
	}
	return inputs, nil
}

// Put writes entries for results whose snapshots are kept. An earlier result
// with the same key is replaced; its snapshot leaves with the next collection.
func (c *Cache) Put(ctx context.Context, results []Result) (err error) {
	if len(results) == 0 {
		return nil
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.dropLogs(results))
		}
	}()
	prepared := make([]entry, len(results))
	for i := range results {
		if prepared[i], err = c.prepare(&results[i]); err != nil {
			return fmt.Errorf("keep the result of step %s: %w", results[i].Step.Step, err)
		}
	}
	return c.db.Update(ctx, func(tx *sql.Tx) error {
		for i := range results {
			if err := c.put(ctx, tx, &results[i], &prepared[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// entry is what is made of a result before the transaction.
type entry struct {
	material, inputs []byte
	log              savedLog
}

func (c *Cache) prepare(r *Result) (e entry, err error) {
	if e.material, err = json.Marshal(r.Material); err != nil {
		return e, err
	}
	if r.Inputs != nil {
		if e.inputs, err = encodeInputs(r.Inputs()); err != nil {
			return e, err
		}
	}
	e.log, err = c.saveLog(r.Log, r.Runner, r.Ref)
	return e, err
}

func (c *Cache) put(ctx context.Context, tx *sql.Tx, r *Result, e *entry) error {
	if err := leaveKey(ctx, tx, r.Key[:]); err != nil {
		return err
	}
	var list []byte
	if e.inputs != nil {
		list = r.Material.Inputs[:]
		if _, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO inputs (digest, list) VALUES (?, ?)`, list, e.inputs); err != nil {
			return err
		}
	}
	seq, err := next(ctx, tx)
	if err != nil {
		return err
	}
	now := c.now().UnixNano()
	_, err = tx.ExecContext(ctx, `
		INSERT INTO entries (key, seq, project, pipeline, step, runner, ref, run, born, duration_ms, material, inputs, log_bytes, log_digest, used, used_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		r.Key[:], seq, r.Step.Project, r.Step.Pipeline, r.Step.Step, r.Runner, string(r.Ref), r.Run, now,
		float64(r.Duration)/float64(time.Millisecond), e.material, list, e.log.bytes, e.log.digest, seq, now)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM tombstones WHERE key = ?`, r.Key[:]); err != nil {
		return err
	}
	return addParts(ctx, tx, r.Runner, r.Ref, r.Parts)
}

// next returns a number that is larger than all before it.
func next(ctx context.Context, tx *sql.Tx) (n int64, err error) {
	_, err = tx.ExecContext(ctx, `UPDATE sequence SET last = last + 1`)
	if err == nil {
		err = tx.QueryRowContext(ctx, `SELECT last FROM sequence`).Scan(&n)
	}
	return n, err
}

// addParts writes down what a kept snapshot occupies.
func addParts(ctx context.Context, tx *sql.Tx, runnerName string, ref runner.SnapshotRef, parts []runner.SnapshotPart) error {
	for _, p := range parts {
		if _, err := tx.ExecContext(ctx, `INSERT INTO parts (runner, id, bytes) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET bytes = excluded.bytes`,
			runnerName, p.ID, int64(p.Bytes)); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO holds (runner, ref, part) VALUES (?, ?, ?)`, runnerName, string(ref), p.ID); err != nil {
			return err
		}
	}
	return nil
}

// Use marks results as used now, and counts that.
func (c *Cache) Use(ctx context.Context, keys []plan.Key) error {
	if len(keys) == 0 {
		return nil
	}
	now := c.now().UnixNano()
	return c.db.Update(ctx, func(tx *sql.Tx) error {
		seq, err := next(ctx, tx)
		if err != nil {
			return err
		}
		mark, err := tx.PrepareContext(ctx, `UPDATE entries SET used = ?, used_at = ?, uses = uses + 1 WHERE key = ?`)
		if err != nil {
			return err
		}
		defer mark.Close() //nolint:errcheck // it ends with the transaction
		for _, key := range keys {
			if _, err := mark.ExecContext(ctx, seq, now, key[:]); err != nil {
				return err
			}
		}
		return nil
	})
}
