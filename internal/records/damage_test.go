package records

import (
	"database/sql"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestDamagedFilesAreSetAside(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, path string){
		"not a database": func(t *testing.T, path string) { write(t, path, strings.Repeat("no database ", 1000)) },
		"empty":          func(t *testing.T, path string) { write(t, path, "") },
		"cut off": func(t *testing.T, path string) {
			if err := os.Truncate(path, 5000); err != nil {
				t.Fatal(err)
			}
		},
		"another program's": func(t *testing.T, path string) {
			for _, suffix := range []string{"", logSuffix, memorySuffix} {
				if err := os.Remove(path + suffix); err != nil {
					t.Fatal(err)
				}
			}
			db, err := sql.Open("sqlite", path)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if _, err := db.Exec("CREATE TABLE of (others)"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			shut(t, open(t, dir, Options{}))
			for n := 1; n <= 2; n++ {
				damage(t, Path(dir))
				before := content(t, dir)
				empty := open(t, dir, Options{ReadOnly: true})
				if len(empty.Notes()) != 1 || len(runs(t, empty)) > 0 {
					t.Errorf("read only there are the runs %q, and the notes %q", runs(t, empty), empty.Notes())
				}
				shut(t, empty)
				if after := content(t, dir); !maps.Equal(before, after) {
					t.Errorf("reading damaged records changed the directory")
				}
				db := open(t, dir, Options{})
				aside := fmt.Sprintf("records.db.damaged-%d", n)
				if notes := strings.Join(db.Notes(), "\n"); !strings.Contains(notes, aside) || strings.Count(notes, "\n") > 0 {
					t.Errorf("the notes are %q", notes)
				}
				if _, err := os.Stat(filepath.Join(dir, aside)); err != nil {
					t.Error(err)
				}
				addRun(t, db, "one")
				shut(t, db)
				if notes := open(t, dir, Options{}).Notes(); len(notes) > 0 {
					t.Errorf("the second time the notes are %q", notes)
				}
			}
		})
	}
}

func TestDamageFoundLater(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir, Options{})
	addRun(t, db, "one")
	var page int64
	if err := db.QueryRow("SELECT rootpage FROM sqlite_schema WHERE name = 'runs'").Scan(&page); err != nil {
		t.Fatal(err)
	}
	shut(t, db)
	file, err := os.OpenFile(Path(dir), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt([]byte(strings.Repeat("\xff", 4096)), (page-1)*4096); err != nil {
		t.Fatal(err)
	}
	file.Close()

	db = open(t, dir, Options{})
	err = db.View(t.Context(), func(tx *sql.Tx) error {
		var n int
		return tx.QueryRow("SELECT count(*) FROM runs NOT INDEXED WHERE pipeline = 'q'").Scan(&n)
	})
	if !IsDamaged(err) {
		t.Fatalf("the error is %v", err)
	}
	if len(db.Check(t.Context())) == 0 {
		t.Error("Check finds nothing")
	}
	_ = db.Close()
	note, err := SetAside(dir, err)
	if err != nil || !strings.Contains(note, "records.db.damaged-1") {
		t.Errorf("setting aside says %q, %v", note, err)
	}
	if got := runs(t, open(t, dir, Options{})); len(got) > 0 {
		t.Errorf("the new records have the runs %q", got)
	}
}

// A process that still uses what was set aside does no harm to the new records.
func TestUsersOfDamagedRecordsDoNotDisturbNewOnes(t *testing.T) {
	dir := t.TempDir()
	old := open(t, dir, Options{})
	addRun(t, old, "old")
	if _, err := SetAside(dir, errForeign); err != nil {
		t.Fatal(err)
	}
	db := open(t, dir, Options{})
	addRun(t, db, "new")
	addRun(t, old, "older")
	shut(t, old)
	addRun(t, db, "newer")
	for _, other := range []*DB{db, open(t, dir, Options{}), open(t, dir, Options{ReadOnly: true})} {
		if got := runs(t, other); !slices.Equal(got, []string{"new", "newer"}) {
			t.Errorf("there are the runs %q", got)
		}
	}
}

func TestLogOfRemovedRecordsIsNotTakenForTheNewOnes(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir, Options{})
	addRun(t, db, "one")
	stay := content(t, dir)
	shut(t, db)
	for name, text := range stay { // as after a crash
		if name != fileName {
			write(t, filepath.Join(dir, name), text)
		}
	}
	if err := os.Remove(Path(dir)); err != nil {
		t.Fatal(err)
	}
	db = open(t, dir, Options{})
	if got := runs(t, db); len(got) > 0 {
		t.Errorf("new records have the runs %q", got)
	}
	if problems := db.Check(t.Context()); len(problems) > 0 {
		t.Errorf("new records have the problems %q", problems)
	}
}
