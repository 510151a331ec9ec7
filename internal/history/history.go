// Package history keeps the index of runs, so that lists and explanations need
// not read journals.
//
// In: how runs and their steps have begun and ended. Out: the newest runs of a
// project, how a step last ended, and how long it took. The journals are the
// truth: an index that was lost is made from them again.
package history

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/internal/records"
)

// History is the index of the runs of one state directory.
type History struct {
	db *records.DB

	// Prepared when they are first needed, for they are asked of many steps.
	// They do not watch their contexts: that would take longer than the answer.
	lastEnd, durations func() (*sql.Stmt, error)
}

// Open returns the index that is in the records.
func Open(db *records.DB) *History {
	prepared := func(query string) func() (*sql.Stmt, error) {
		return sync.OnceValues(func() (*sql.Stmt, error) { return db.Prepare(query) })
	}
	return &History{db: db, lastEnd: prepared(lastEnd), durations: prepared(durations)}
}

// StepEnd is how a step of a run has ended.
type StepEnd struct {
	Step       string
	Status     journal.Status
	Key        plan.Key // zero where there was none
	DurationMS float64
}

// What is asked of the tables. None of it costs more where there are more runs:
// a test looks at SQLite's plans.
const (
	openRuns   = `SELECT id FROM runs WHERE status = ''`
	selectRuns = `SELECT id, project, pipeline, started, status, exit_code, duration_ms, steps, by_status FROM runs `
	listAll    = selectRuns + `ORDER BY seq DESC LIMIT ?`
	listOne    = selectRuns + `WHERE project = ? ORDER BY seq DESC LIMIT ?`
	latestWith = `SELECT run FROM step_ends WHERE project = ? AND step = ? ORDER BY seq DESC LIMIT 1`
	lastEnd    = `
		SELECT run, status, key FROM step_ends WHERE project = ? AND pipeline = ? AND step = ? AND status IN ('passed', 'cached', 'failed', 'timed_out')
		ORDER BY seq DESC LIMIT 1`
	durations = `
		SELECT duration_ms FROM step_ends WHERE project = ? AND pipeline = ? AND step = ? AND status = 'passed' ORDER BY seq DESC LIMIT ?`
	// An INSERT with ON CONFLICT would use up a number at each conflict.
	endRun      = `UPDATE runs SET status = ?2, exit_code = ?3, duration_ms = ?4, by_status = ?5 WHERE id = ?1`
	insertEnded = `INSERT INTO runs (id, status, exit_code, duration_ms, by_status, project, pipeline, started, steps) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`
	forgetRun   = `DELETE FROM runs WHERE id = ?`
	// Runs are numbered as they begin, and ends of steps as they are noted.
	oldRuns = `SELECT id FROM runs WHERE status <> '' AND seq <= max(
		(SELECT max(seq) FROM runs) - ?1,
		coalesce((SELECT r.seq FROM runs r WHERE r.id = (
			SELECT run FROM step_ends WHERE seq <= (SELECT max(seq) FROM step_ends) - ?2 ORDER BY seq DESC LIMIT 1)), 0)
	) ORDER BY seq`
	forgetEnds = `DELETE FROM step_ends WHERE run = ?`
)

// Started notes that a run has begun, if that is not noted yet.
func (h *History) Started(ctx context.Context, s journal.Summary) error {
	return h.db.Update(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO runs (id, project, pipeline, started, steps) VALUES (?, ?, ?, ?, ?)`,
			s.ID, s.Project, s.Pipeline, s.Started.UnixNano(), s.Steps)
		return err
	})
}

// Ended notes how a run and its steps have ended. It may not have been noted as
// started.
func (h *History) Ended(ctx context.Context, s journal.Summary, ends []StepEnd) error {
	return h.db.Update(ctx, func(tx *sql.Tx) error { return ended(ctx, tx, s, ends) })
}

func ended(ctx context.Context, tx *sql.Tx, s journal.Summary, ends []StepEnd) error {
	counts, err := json.Marshal(s.ByStatus)
	if err != nil {
		return err
	}
	args := []any{s.ID, string(s.Status), s.ExitCode, s.DurationMS, string(counts)}
	updated, err := tx.ExecContext(ctx, endRun, args...)
	if err != nil {
		return err
	}
	if n, err := updated.RowsAffected(); err != nil {
		return err
	} else if n == 0 {
		if _, err := tx.ExecContext(ctx, insertEnded, append(args, s.Project, s.Pipeline, s.Started.UnixNano(), s.Steps)...); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, forgetEnds, s.ID); err != nil {
		return err
	}
	add, err := tx.PrepareContext(ctx, `INSERT INTO step_ends (project, pipeline, step, run, status, key, duration_ms) VALUES (?, ?, ?, ?, ?, ?, ?)`)
	if err != nil {
		return err
	}
	defer add.Close() //nolint:errcheck // it ends with the transaction
	for _, e := range ends {
		var key []byte
		if !e.Key.IsZero() {
			key = e.Key[:]
		}
		if _, err := add.ExecContext(ctx, s.Project, s.Pipeline, e.Step, s.ID, string(e.Status), key, e.DurationMS); err != nil {
			return err
		}
	}
	return nil
}

// Settle notes how runs have ended that were noted as started and do not live
// any more: those whose processes died, once their journals are recovered. One
// without a journal is forgotten; one whose journal has no end stays as it is.
// It returns how many there were.
func (h *History) Settle(ctx context.Context, runsDir string) (settled int, err error) {
	open, err := h.names(ctx, openRuns)
	if err != nil || len(open) == 0 {
		return 0, err
	}
	for _, id := range open {
		dir := filepath.Join(runsDir, id)
		run, err := journal.Open(dir)
		gone := errors.Is(err, fs.ErrNotExist)
		if err == nil {
			var live bool
			if live, err = run.Alive(); live {
				continue
			}
		}
		if err != nil && !gone {
			return settled, err
		}
		summary, state, ok := journal.Summarize(dir)
		if !gone && (!ok || summary.Status == "") {
			continue // damaged, or not recovered yet
		}
		err = h.db.Update(ctx, func(tx *sql.Tx) error {
			if !gone {
				return ended(ctx, tx, summary, stepEnds(&state))
			}
			return forget(ctx, tx, id)
		})
		if err != nil {
			return settled, err
		}
		settled++
	}
	return settled, nil
}

// Forget removes what is noted of a run, if anything is.
func (h *History) Forget(ctx context.Context, id string) error {
	return h.db.Update(ctx, func(tx *sql.Tx) error { return forget(ctx, tx, id) })
}

func forget(ctx context.Context, tx *sql.Tx, id string) error {
	for _, statement := range []string{forgetEnds, forgetRun} {
		if _, err := tx.ExecContext(ctx, statement, id); err != nil {
			return err
		}
	}
	return nil
}

// index makes the rows of one ended run from its journal. One that cannot be
// read is left out: who looks at it is told why.
func index(ctx context.Context, tx *sql.Tx, dir string) error {
	s, state, ok := journal.Summarize(dir)
	if !ok || state.ID == "" {
		return nil
	}
	return ended(ctx, tx, s, stepEnds(&state))
}

func stepEnds(state *journal.RunState) []StepEnd {
	var ends []StepEnd
	for i := range state.Steps {
		step := &state.Steps[i]
		if step.End == nil {
			continue
		}
		e := StepEnd{Step: step.Name, Status: step.Status(), DurationMS: step.End.DurationMS}
		if d := step.Decision; d != nil && d.Key != "" {
			// A key that cannot be read is none: then nothing is known of the step.
			_ = e.Key.UnmarshalText([]byte(d.Key))
		}
		ends = append(ends, e)
	}
	return ends
}

// Import makes the index from the journals, if there is nothing in it.
func (h *History) Import(ctx context.Context, runsDir string) error {
	var filled bool
	if err := h.db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM runs)`).Scan(&filled); err != nil || filled || h.db.ReadOnly() {
		return h.db.Explain(err)
	}
	dirs, err := journal.Dirs(runsDir)
	if err != nil || len(dirs) == 0 {
		return err
	}
	return h.db.Update(ctx, func(tx *sql.Tx) error {
		for _, dir := range dirs {
			if err := index(ctx, tx, dir); err != nil {
				return err
			}
		}
		return nil
	})
}

// Adopt adds the runs that the index does not know, such as those that an older
// Strata made, and returns their IDs, the oldest first. Those that still live
// are for their own process to add.
func (h *History) Adopt(ctx context.Context, runsDir string) (adopted []string, err error) {
	ids, err := h.names(ctx, `SELECT id FROM runs`)
	if err != nil {
		return nil, err
	}
	known := make(map[string]bool, len(ids))
	for _, id := range ids {
		known[id] = true
	}
	dirs, err := journal.Dirs(runsDir)
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		id := filepath.Base(dir)
		if known[id] {
			continue
		}
		s, state, ok := journal.Summarize(dir)
		if !ok || s.Status == "" {
			continue // it goes on, or is damaged: who looks at it is told why
		}
		err := h.db.Update(ctx, func(tx *sql.Tx) error { return ended(ctx, tx, s, stepEnds(&state)) })
		if err != nil {
			return adopted, err
		}
		adopted = append(adopted, id)
	}
	return adopted, nil
}

// List returns the newest runs, at most limit (0 for all), the newest first, of
// one project or, for "", of all. Of a run that has not ended the status is
// empty; whether it lives, its journal's marker tells.
func (h *History) List(ctx context.Context, project string, limit int) (list []journal.Summary, err error) {
	if limit == 0 {
		limit = -1
	}
	query, args := listAll, []any{limit}
	if project != "" {
		query, args = listOne, []any{project, limit}
	}
	rows, err := h.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, h.db.Explain(err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what went wrong
	for rows.Next() {
		var s journal.Summary
		var started int64
		var exit sql.NullInt64
		var counts []byte
		if err := rows.Scan(&s.ID, &s.Project, &s.Pipeline, &started, &s.Status, &exit, &s.DurationMS, &s.Steps, &counts); err != nil {
			return nil, h.db.Explain(err)
		}
		s.Started = time.Unix(0, started)
		if exit.Valid {
			code := int(exit.Int64)
			s.ExitCode = &code
		}
		if json.Unmarshal(counts, &s.ByStatus) != nil {
			s.ByStatus = nil // counts are only shown
		}
		list = append(list, s)
	}
	return list, h.db.Explain(rows.Err())
}

// LatestWith returns the ID of a project's latest ended run that has a step;
// empty if there is none.
func (h *History) LatestWith(ctx context.Context, project, step string) (id string, err error) {
	err = h.db.QueryRowContext(ctx, latestWith, project, step).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return id, h.db.Explain(err)
}

// Steps returns the names of all steps of a project's latest runs.
func (h *History) Steps(ctx context.Context, project string) (names []string, err error) {
	return h.names(ctx, `
		SELECT DISTINCT step FROM step_ends WHERE run IN (SELECT id FROM runs WHERE project = ? ORDER BY seq DESC LIMIT 50) ORDER BY step`, project)
}

// LastEnd returns how a step ended when it last passed, failed or timed out; nil
// if it never did.
func (h *History) LastEnd(ctx context.Context, id plan.StepID) (*plan.LastEnd, error) {
	find, err := h.lastEnd()
	if err != nil {
		return nil, h.db.Explain(err)
	}
	var e plan.LastEnd
	var key []byte
	err = find.QueryRowContext(context.WithoutCancel(ctx), id.Project, id.Pipeline, id.Step).Scan(&e.Run, &e.Status, &key)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	copy(e.Key[:], key)
	return &e, h.db.Explain(err)
}

// Durations returns how long the newest passed runs of a step took, at most n.
func (h *History) Durations(ctx context.Context, id plan.StepID, n int) (list []time.Duration, err error) {
	find, err := h.durations()
	if err != nil {
		return nil, h.db.Explain(err)
	}
	rows, err := find.QueryContext(context.WithoutCancel(ctx), id.Project, id.Pipeline, id.Step, n)
	if err != nil {
		return nil, h.db.Explain(err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what went wrong
	for rows.Next() {
		var ms float64
		if err := rows.Scan(&ms); err != nil {
			return nil, h.db.Explain(err)
		}
		list = append(list, time.Duration(ms*float64(time.Millisecond)))
	}
	return list, h.db.Explain(rows.Err())
}

// keptEnds bounds the rows of the index: about 130 bytes for each end of a step.
const keptEnds = 500_000

// Prune removes the journals of the ended runs that are not among the keep that
// began last, or whose steps are not among the last 500,000, and then forgets
// those runs, so that no journal is without a row that leads to it. It returns
// the IDs of those that are gone.
func (h *History) Prune(ctx context.Context, runsDir string, keep int) (gone []string, err error) {
	return h.prune(ctx, runsDir, keep, keptEnds)
}

func (h *History) prune(ctx context.Context, runsDir string, keep, ends int) (gone []string, err error) {
	old, err := h.names(ctx, oldRuns, keep, ends)
	if err != nil {
		return nil, err
	}
	gone, failed := journal.Remove(runsDir, old)
	if len(gone) == 0 {
		return nil, failed
	}
	err = h.db.Update(ctx, func(tx *sql.Tx) error {
		for _, id := range gone {
			if err := forget(ctx, tx, id); err != nil {
				return err
			}
		}
		return nil
	})
	return gone, errors.Join(failed, err)
}

// names returns the IDs or names that a query gives.
func (h *History) names(ctx context.Context, query string, args ...any) (names []string, err error) {
	rows, err := h.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, h.db.Explain(err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what went wrong
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, h.db.Explain(err)
		}
		names = append(names, name)
	}
	return names, h.db.Explain(rows.Err())
}
