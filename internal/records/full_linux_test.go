package records

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/runner"
)

// mounted returns a directory on a file system of its own.
func mounted(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		if os.Geteuid() == 0 {
			t.Fatal(err)
		}
		t.Skip("a file system can be mounted by root only: run the tests as root")
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fillDisk writes a file until the disk is full.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, make([]byte, 8<<20), 0o600); !runner.IsDiskFull(err) {
		t.Fatalf("the disk is not full: %v", err)
	}
}

func TestFullDisk(t *testing.T) {
	dir := mounted(t, "size=1m")
	ballast := filepath.Join(dir, "ballast")
	fillDisk(t, ballast)
	if _, err := Open(dir, Options{}); !runner.IsDiskFull(err) || !strings.Contains(err.Error(), "free some space") {
		t.Errorf("records are made on a full disk: %v", err)
	}
	remove(t, ballast)
	db := open(t, dir, Options{})
	addRun(t, db, "before")
	fillDisk(t, ballast)
	err := db.Update(t.Context(), func(tx *sql.Tx) error {
		for i := range 5000 {
			if err := insertRun(tx, fmt.Sprint("run ", i)); err != nil {
				return err
			}
		}
		return nil
	})
	if !runner.IsDiskFull(err) || !strings.Contains(err.Error(), Path(dir)) || !strings.Contains(err.Error(), "free some space") {
		t.Errorf("the error is %v", err)
	}
	remove(t, ballast)
	addRun(t, db, "after")
	if got := strings.Join(runs(t, db), " "); got != "before after" {
		t.Errorf("the runs are %q", got)
	}
	if problems := db.Check(t.Context()); len(problems) > 0 {
		t.Errorf("the problems are %q", problems)
	}
}

func TestReadOnlyDisk(t *testing.T) {
	dir := mounted(t, "size=1m")
	home := filepath.Join(dir, "home")
	db := open(t, home, Options{})
	addRun(t, db, "one")
	shut(t, db)
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for _, home := range []string{home, filepath.Join(dir, "new")} {
		_, err := Open(home, Options{})
		var explained *Error
		if !errors.As(err, &explained) || !strings.Contains(err.Error(), "make all of "+home+" yours, or set STRATA_HOME") {
			t.Errorf("the error is %v", err)
		}
	}
	if got := runs(t, open(t, home, Options{ReadOnly: true})); len(got) != 1 {
		t.Errorf("to be read there are the runs %q", got)
	}
}
