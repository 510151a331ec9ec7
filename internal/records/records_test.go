package records

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/strata-ci/strata/internal/filelock"
)

func TestOpenMakesPrivateRecordsThatLast(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a ?#%", "home")
	db := open(t, dir, Options{})
	addRun(t, db, "one")
	info, err := os.Stat(Path(dir))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		t.Errorf("others may use the file: %v", info.Mode())
	}
	shut(t, db)
	db = open(t, dir, Options{})
	if got := runs(t, db); !slices.Equal(got, []string{"one"}) {
		t.Errorf("there are the runs %q", got)
	}
	if problems := db.Check(t.Context()); len(problems) > 0 {
		t.Errorf("fresh records have the problems %q", problems)
	}
}

func TestConnectionsHaveTheirSettings(t *testing.T) {
	db := open(t, t.TempDir(), Options{})
	for pragma, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "1", "foreign_keys": "1", "trusted_schema": "0", "busy_timeout": "30000",
	} {
		var got string
		if err := db.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %s, %v; want %s", pragma, got, err, want)
		}
	}
	err := db.Update(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.Exec("INSERT INTO snapshot_layers VALUES ('r', 0, 'no such layer')")
		return err
	})
	if err == nil {
		t.Error("a row may point to one that does not exist")
	}
}

// Two transactions that read before they write would both be refused if the
// first statement did not take the lock.
func TestUpdatesFromManyProcessesTakeTurns(t *testing.T) {
	dir := t.TempDir()
	const users, times = 4, 25
	var all sync.WaitGroup
	for range users {
		all.Go(func() {
			db, err := Open(dir, Options{}) // at once, so that one of them makes the file
			if err != nil {
				t.Error(err)
				return
			}
			defer db.Close()
			for range times {
				err := db.Update(context.Background(), func(tx *sql.Tx) error {
					var n int
					if err := tx.QueryRow("SELECT count(*) FROM runs").Scan(&n); err != nil {
						return err
					}
					return insertRun(tx, fmt.Sprint(n))
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if got := runs(t, open(t, dir, Options{})); len(got) != users*times {
		t.Errorf("there are %d runs, want %d", len(got), users*times)
	}
}

func TestUpdateThatFailsChangesNothing(t *testing.T) {
	db := open(t, t.TempDir(), Options{})
	sentinel := errors.New("no")
	for _, update := range []func(context.Context, func(*sql.Tx) error) error{db.Update, db.UpdateDurable} {
		err := update(t.Context(), func(tx *sql.Tx) error { return errors.Join(insertRun(tx, "x"), sentinel) })
		if !errors.Is(err, sentinel) {
			t.Errorf("the error is %v", err)
		}
	}
	if got := runs(t, db); len(got) > 0 {
		t.Errorf("there are the runs %q", got)
	}
}

func TestUpdateDurableSyncsAndGoesBack(t *testing.T) {
	db := open(t, t.TempDir(), Options{})
	db.SetMaxOpenConns(1)
	synchronous := func(q interface{ QueryRow(string, ...any) *sql.Row }) (n int) {
		if err := q.QueryRow("PRAGMA synchronous").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	err := db.UpdateDurable(t.Context(), func(tx *sql.Tx) error {
		if n := synchronous(tx); n != 2 {
			t.Errorf("synchronous is %d within", n)
		}
		return insertRun(tx, "x")
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := synchronous(db); n != 1 {
		t.Errorf("synchronous is %d afterwards", n)
	}
}

func TestCancelledUseIsTheContextsError(t *testing.T) {
	db := open(t, t.TempDir(), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	err := db.Update(ctx, func(tx *sql.Tx) error {
		cancel()
		return insertRun(tx, "x")
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	if got := runs(t, db); len(got) > 0 {
		t.Errorf("there are the runs %q", got)
	}
}

func TestReadOnlyChangesNothing(t *testing.T) {
	t.Run("no records", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "none")
		db := open(t, dir, Options{ReadOnly: true})
		if got := runs(t, db); len(got) > 0 {
			t.Errorf("there are the runs %q", got)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Error("the directory was made")
		}
	})
	for name, arrange := range map[string]func(t *testing.T, dir string){
		"closed": func(t *testing.T, dir string) { shut(t, open(t, dir, Options{})) },
		"in use": func(t *testing.T, dir string) { open(t, dir, Options{}) },
		"no log": func(t *testing.T, dir string) {
			remove(t, Path(dir)+logSuffix)
			remove(t, Path(dir)+memorySuffix)
		},
		"crashed": func(t *testing.T, dir string) { crash(t, dir) },
		"crashed, and copied without the memory": func(t *testing.T, dir string) {
			crash(t, dir)
			remove(t, Path(dir)+memorySuffix)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			db := open(t, dir, Options{})
			addRun(t, db, "one")
			shut(t, db)
			arrange(t, dir)
			before := content(t, dir)
			db = open(t, dir, Options{ReadOnly: true})
			if got := runs(t, db); got[0] != "one" || strings.HasPrefix(name, "crashed") != (len(got) == 2) {
				t.Errorf("there are the runs %q", got)
			}
			if err := db.Update(t.Context(), func(tx *sql.Tx) error { return insertRun(tx, "x") }); err == nil {
				t.Error("Update works")
			}
			if _, err := db.Exec("DELETE FROM runs"); err == nil && db.temp == "" {
				t.Error("a statement that writes works")
			}
			shut(t, db)
			if after := content(t, dir); !maps.Equal(before, after) {
				t.Errorf("the files were %v and are %v, or their contents are others", slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
			}
			if db.temp != "" {
				if _, err := os.Stat(db.temp); err == nil {
					t.Error("the copy is still there")
				}
			}
		})
	}
}

func TestVersions(t *testing.T) {
	dir := t.TempDir()
	old := open(t, dir, Options{})
	addRun(t, old, "one")
	shut(t, old)
	newer := format{schema + "CREATE TABLE extra (x);", []string{"CREATE TABLE extra (x)"}}
	broken := format{schema, []string{"CREATE TABLE extra (x); CREATE TABLE runs (x)"}}

	if _, err := openFormat(dir, Options{}, broken); err == nil || IsDamaged(err) {
		t.Errorf("a migration that fails gives %v", err)
	}
	shut(t, open(t, dir, Options{})) // as it was

	before := content(t, dir)
	for range 2 {
		db, err := openFormat(dir, Options{ReadOnly: true}, newer)
		if err != nil {
			t.Fatal(err)
		}
		if got := runs(t, db); !slices.Equal(got, []string{"one"}) {
			t.Errorf("to be read there are the runs %q", got)
		}
		shut(t, db)
	}
	if !maps.Equal(before, content(t, dir)) {
		t.Error("reading records of an older format changed them")
	}

	db, err := openFormat(dir, Options{}, newer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("INSERT INTO extra VALUES (1)"); err != nil {
		t.Error(err)
	}
	if got := runs(t, db); !slices.Equal(got, []string{"one"}) {
		t.Errorf("migrated there are the runs %q", got)
	}
	shut(t, db)

	for _, opts := range []Options{{}, {ReadOnly: true}} {
		_, err := Open(dir, opts)
		var version *VersionError
		if !errors.As(err, &version) || version.Found != 2 || version.Known != 1 {
			t.Fatalf("an older program gets %v", err)
		}
		for _, part := range []string{Path(dir), "format 2", "newer Strata", "STRATA_HOME"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q does not say %q", err, part)
			}
		}
	}
}

func TestSettingAsideWaitsForWhoOpens(t *testing.T) {
	dir := t.TempDir()
	shut(t, open(t, dir, Options{}))
	lock, err := filelock.Open(filepath.Join(dir, lockName), filelock.Shared)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := SetAside(dir, errForeign)
		done <- err
	}()
	shut(t, open(t, dir, Options{})) // others may open
	select {
	case err := <-done:
		t.Fatalf("SetAside returned %v while the records were being opened", err)
	default:
	}
	lock.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func open(t *testing.T, dir string, opts Options) *DB {
	t.Helper()
	db, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func shut(t *testing.T, db *DB) {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func insertRun(tx *sql.Tx, id string) error {
	_, err := tx.Exec("INSERT INTO runs (id, project, pipeline, started) VALUES (?, 'p', 'q', 1)", id)
	return err
}

func addRun(t *testing.T, db *DB, id string) {
	t.Helper()
	if err := db.Update(t.Context(), func(tx *sql.Tx) error { return insertRun(tx, id) }); err != nil {
		t.Fatal(err)
	}
}

func runs(t *testing.T, db *DB) (ids []string) {
	t.Helper()
	err := db.View(t.Context(), func(tx *sql.Tx) error {
		rows, err := tx.Query("SELECT id FROM runs ORDER BY seq")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				return err
			}
			ids = append(ids, id)
		}
		return rows.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// crash leaves records as a process does that is killed after it wrote.
func crash(t *testing.T, dir string) {
	t.Helper()
	db := open(t, dir, Options{})
	addRun(t, db, "two")
	left := content(t, dir)
	shut(t, db)
	for name, text := range left {
		write(t, filepath.Join(dir, name), text)
	}
}

func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(data)
	}
	return files
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
