//go:build linux && faults

package crashtest

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// faulty are queries for rows that contradict each other.
var faulty = []string{
	`SELECT 'the database is damaged: ' || integrity_check FROM pragma_integrity_check WHERE integrity_check <> 'ok'`,
	`SELECT 'a row of ' || "table" || ' refers to nothing' FROM pragma_foreign_key_check`,
	`SELECT 'the entry of ' || step || ' has no data: ' || ref FROM entries
	 WHERE runner = 'container' AND ref NOT IN (SELECT ref FROM snapshots)`,
	`SELECT 'the failure of ' || step || ' has no data: ' || ref FROM failures
	 WHERE runner = 'container' AND ref NOT IN (SELECT ref FROM snapshots)`,
	`SELECT 'the snapshot has no owner: ' || ref FROM snapshots WHERE ref NOT IN
	 (SELECT ref FROM entries WHERE runner = 'container' UNION SELECT ref FROM failures WHERE runner = 'container')`,
	`SELECT 'the layer has no snapshot: ' || id FROM layers WHERE id NOT IN (SELECT layer FROM snapshot_layers)`,
	`SELECT 'the layer is neither there nor gone: ' || id FROM layers WHERE doomed <> 0`,
	`SELECT 'the part has no holder: ' || id FROM parts p WHERE NOT EXISTS
	 (SELECT 1 FROM holds h WHERE h.runner = p.runner AND h.part = p.id)`,
	`SELECT 'the hold has no part: ' || ref FROM holds h WHERE NOT EXISTS
	 (SELECT 1 FROM parts p WHERE p.runner = h.runner AND p.id = h.part)`,
	`SELECT 'the hold has no owner: ' || ref FROM holds WHERE (runner, ref) NOT IN
	 (SELECT runner, ref FROM entries UNION SELECT runner, ref FROM failures)`,
	`SELECT 'the snapshot has not been removed: ' || ref FROM leaving`,
	`SELECT 'the entry has no list of inputs: ' || step FROM entries
	 WHERE inputs IS NOT NULL AND inputs NOT IN (SELECT digest FROM inputs)`,
	`SELECT 'the run has no end: ' || id FROM runs WHERE status = ''`,
}

// contradictions are those of the records with each other and with the files.
func (s *site) contradictions() (found []string) {
	s.Helper()
	path := filepath.Join(s.home, "records.db")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil // no run has come so far
	}
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro")
	if err != nil {
		s.Fatal(err)
	}
	defer db.Close()
	for _, query := range faulty {
		found = append(found, s.rows(db, query)...)
	}
	for _, c := range []struct{ what, query, dir string }{
		{"layer", `SELECT id FROM layers`, "containers/layers"},
		{"snapshot of the host runner", `SELECT ref FROM entries WHERE runner = 'host' UNION SELECT ref FROM failures WHERE runner = 'host'`, "hosts/snapshots"},
		{"log of a container", `SELECT ref FROM entries WHERE runner = 'container' AND log_bytes > 0`, "cache/logs/container"},
		{"log of the host runner", `SELECT ref FROM entries WHERE runner = 'host' AND log_bytes > 0`, "cache/logs/host"},
		{"run", `SELECT id FROM runs`, "runs"},
	} {
		recorded, there := s.rows(db, c.query), s.names(c.dir)
		for _, name := range recorded {
			if !slices.Contains(there, name) {
				found = append(found, fmt.Sprintf("the %s %s has no files", c.what, name))
			}
		}
		for _, name := range there {
			if !slices.Contains(recorded, name) {
				found = append(found, fmt.Sprintf("the %s %s is not recorded", c.what, name))
			}
		}
	}
	return found
}

// rows returns the first column of a query.
func (s *site) rows(db *sql.DB, query string) (values []string) {
	s.Helper()
	rows, err := db.QueryContext(s.Context(), query)
	if err != nil {
		s.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	for rows.Next() {
		var value string
		if err := rows.Scan(&value); err != nil {
			s.Fatal(err)
		}
		values = append(values, value)
	}
	if err := rows.Err(); err != nil {
		s.Fatalf("%s: %v", query, err)
	}
	return values
}

// names are those in a directory of the state.
func (s *site) names(dir string) (names []string) {
	s.Helper()
	entries, err := os.ReadDir(filepath.Join(s.home, dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names
}
