//go:build linux

package container

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestSkeletonsInUseStay describes a machine that changes: what a process has
// open stays, also after a newer one is written, and goes with the next after it
// is closed.
func TestSkeletonsInUseStay(t *testing.T) {
	dir := t.TempDir()
	open := func(file string) *base {
		t.Helper()
		b, err := skeleton{"etc": {mode: fs.ModeDir | 0o755}, file: {data: file, mode: 0o644}}.open(dir)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	there := func(b *base, want bool) {
		t.Helper()
		if _, err := os.Stat(filepath.Join(b.path, "etc")); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", b.path, err == nil, want)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, newName, "half"), 0o755); err != nil { // of a killed process
		t.Fatal(err)
	}
	first, again := open("etc/one"), open("etc/one")
	if first.path != again.path {
		t.Errorf("equal skeletons are %s and %s", first.path, again.path)
	}
	if err := first.close(); err != nil {
		t.Fatal(err)
	}
	second := open("etc/two")
	there(again, true)
	if err := again.close(); err != nil {
		t.Fatal(err)
	}
	third := open("etc/three")
	there(again, false)
	there(second, true)
	there(third, true)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 3 { // two, and the lock
		t.Errorf("there are %v, %v", entries, err)
	}
	if err := second.close(); err != nil {
		t.Fatal(err)
	}
	if err := third.close(); err != nil {
		t.Fatal(err)
	}
}
