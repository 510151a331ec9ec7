//go:build linux

package snapshot

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/strata-ci/strata/runner"
)

// row is the record of a kept layer.
type row struct {
	id                     string
	bytes                  int64
	files, contents, modes []byte
}

// errUnknown says that no kept snapshot has the name.
var errUnknown = errors.New("it does not exist any more: run the step that makes it again")

// damage says what is wrong with a kept snapshot.
type damage struct{ layer, what string }

func (d *damage) Error() string {
	if d.layer == "" {
		return d.what
	}
	return "the layer " + d.layer + " " + d.what
}

var errBadRecord = &damage{what: "its record is damaged"}

// asSnapshotError makes an error of KindSnapshot of what is wrong with a
// snapshot, and one of the machine of anything else.
func asSnapshotError(op string, err error) *runner.InfraError {
	var d *damage
	if errors.As(err, &d) || errors.Is(err, errUnknown) {
		return &runner.InfraError{Op: op, Kind: runner.KindSnapshot, Err: err}
	}
	return runner.AsInfra(op, err)
}

// readRows returns the records of a kept snapshot's layers, topmost first.
func readRows(ctx context.Context, tx *sql.Tx, ref runner.SnapshotRef) ([]row, error) {
	found, err := tx.QueryContext(ctx, `
		SELECT p.place, l.id, l.bytes, l.files, l.contents, l.modes
		FROM snapshots AS s
		LEFT JOIN snapshot_layers AS p ON p.ref = s.ref
		LEFT JOIN layers AS l ON l.id = p.layer
		WHERE s.ref = ? ORDER BY p.place`, string(ref))
	if err != nil {
		return nil, err
	}
	defer found.Close() //nolint:errcheck // Err tells
	var rows []row
	known := false
	for found.Next() {
		known = true
		var place, size sql.NullInt64
		var id sql.NullString
		var r row
		if err := found.Scan(&place, &id, &size, &r.files, &r.contents, &r.modes); err != nil {
			return nil, err
		}
		if !place.Valid {
			break // it has no layer
		}
		if r.id, r.bytes = id.String, size.Int64; place.Int64 != int64(len(rows)) || !validID(r.id) {
			return nil, errBadRecord
		}
		rows = append(rows, r)
	}
	if err := found.Err(); err != nil {
		return nil, err
	}
	if !known {
		return nil, errUnknown
	}
	return rows, nil
}

// layerIDs returns the names of a kept snapshot's layers in any order. It is
// asked for every cached step of every run: so it is one row of one statement,
// which is prepared once and does not watch ctx, which would take longer than
// the answer.
func (s *Store) layerIDs(ctx context.Context, ref runner.SnapshotRef) ([]string, error) {
	query, err := s.listLayers()
	if err != nil {
		return nil, s.db.Explain(err)
	}
	var count, last sql.NullInt64
	var names sql.NullString
	err = query.QueryRowContext(context.WithoutCancel(ctx), string(ref)).Scan(&count, &last, &names)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, errUnknown
	case err != nil:
		return nil, s.db.Explain(err)
	case count.Int64 == 0:
		return nil, nil
	}
	ids := strings.Split(names.String, "/")
	if last.Int64 != count.Int64-1 || len(ids) != int(count.Int64) || slices.ContainsFunc(ids, func(id string) bool { return !validID(id) }) {
		return nil, errBadRecord
	}
	return ids, nil
}

func (s *Store) prepareListLayers() (*sql.Stmt, error) {
	return s.db.Prepare(`
		SELECT count(p.place), max(p.place), group_concat(p.layer, '/')
		FROM snapshots AS s LEFT JOIN snapshot_layers AS p ON p.ref = s.ref
		WHERE s.ref = ? GROUP BY s.ref`)
}

// validID reports whether a layer's name, from a record, is one path element.
func validID(id string) bool {
	return validRef(runner.SnapshotRef(id)) && strings.Trim(id, ".") != ""
}

// isKept reports whether a snapshot is recorded.
func isKept(ctx context.Context, tx *sql.Tx, ref runner.SnapshotRef) (bool, error) {
	return has(ctx, tx, `SELECT 1 FROM snapshots WHERE ref = ?`, string(ref))
}

func has(ctx context.Context, tx *sql.Tx, query string, args ...any) (bool, error) {
	var one int
	err := tx.QueryRowContext(ctx, query, args...).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// column returns the only column of a query's rows.
func column(ctx context.Context, tx *sql.Tx, query string, args ...any) ([]string, error) {
	found, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer found.Close() //nolint:errcheck // Err tells
	var values []string
	for found.Next() {
		var v string
		if err := found.Scan(&v); err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	return values, found.Err()
}

// execAll runs statements one after another.
func execAll(ctx context.Context, tx *sql.Tx, arg string, statements ...string) error {
	for _, statement := range statements {
		if _, err := tx.ExecContext(ctx, statement, arg); err != nil {
			return fmt.Errorf("write the records of snapshots: %w", err)
		}
	}
	return nil
}

// dropSnapshot removes the record of a snapshot, and dooms the layers that no
// other one has.
func dropSnapshot(ctx context.Context, tx *sql.Tx, ref runner.SnapshotRef) error {
	layers, err := column(ctx, tx, `SELECT layer FROM snapshot_layers WHERE ref = ?`, string(ref))
	if err != nil {
		return err
	}
	err = execAll(ctx, tx, string(ref),
		`DELETE FROM snapshot_layers WHERE ref = ?`, `DELETE FROM snapshots WHERE ref = ?`)
	if err != nil {
		return err
	}
	for _, id := range layers {
		err := execAll(ctx, tx, id, `
			UPDATE layers SET doomed = 1 WHERE id = ?1
			AND NOT EXISTS (SELECT 1 FROM snapshot_layers WHERE layer = ?1)`)
		if err != nil {
			return err
		}
	}
	return nil
}

// writeSnapshot records a snapshot of layers that are recorded, or are recorded
// with it: rows has the new ones.
func writeSnapshot(ctx context.Context, tx *sql.Tx, ref runner.SnapshotRef, layers []*layer, rows map[string]row) error {
	if err := dropSnapshot(ctx, tx, ref); err != nil {
		return err
	}
	if err := execAll(ctx, tx, string(ref), `INSERT INTO snapshots (ref) VALUES (?)`); err != nil {
		return err
	}
	for place, l := range layers {
		if err := writeLayer(ctx, tx, l.id, rows); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO snapshot_layers (ref, place, layer) VALUES (?, ?, ?)`, string(ref), place, l.id)
		if err != nil {
			return fmt.Errorf("write the records of snapshots: %w", err)
		}
	}
	return nil
}

// writeLayer records a layer. One that was doomed, and is held by this process,
// is saved.
func writeLayer(ctx context.Context, tx *sql.Tx, id string, rows map[string]row) error {
	r, ok := rows[id]
	if !ok {
		return execAll(ctx, tx, id, `UPDATE layers SET doomed = 0 WHERE id = ?`)
	}
	_, err := tx.ExecContext(ctx, `
		INSERT INTO layers (id, bytes, files, contents, modes) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET doomed = 0`, id, r.bytes, r.files, r.contents, r.modes)
	if err != nil {
		return fmt.Errorf("write the records of snapshots: %w", err)
	}
	return nil
}

// Kept returns the names of all kept snapshots.
func (s *Store) Kept(ctx context.Context) (refs []runner.SnapshotRef, err error) {
	err = s.db.View(ctx, func(tx *sql.Tx) error {
		names, err := column(ctx, tx, `SELECT ref FROM snapshots`)
		for _, name := range names {
			refs = append(refs, runner.SnapshotRef(name))
		}
		return err
	})
	return refs, err
}
