package runnertest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// tree is a list of files, parents before children where their modes matter.
type tree []entry

// entry is one file, directory or symlink. Missing parents are made.
type entry struct {
	path string
	mode fs.FileMode // with modeDir or modeLink for these
	data string      // the contents or a symlink's target
	time time.Time   // of the last change; a fixed one if zero
}

const (
	modeDir  = fs.ModeDir
	modeLink = fs.ModeSymlink
)

// captureTime is the time of files for which a test names none.
var captureTime = time.Date(2020, 2, 3, 4, 5, 6, 789_000_000, time.UTC)

// write makes the files in dir.
func (t tree) write(dir string) error {
	for _, e := range t {
		path := filepath.Join(dir, e.path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := e.write(path); err != nil {
			return err
		}
	}
	// Attributes come last and from the leaves up: a directory's time changes
	// with its entries, and its mode may forbid to make them.
	for i := len(t) - 1; i >= 0; i-- {
		if err := t[i].finish(filepath.Join(dir, t[i].path)); err != nil {
			return err
		}
	}
	return nil
}

func (e entry) write(path string) error {
	switch e.mode.Type() {
	case modeDir:
		return os.MkdirAll(path, 0o755)
	case modeLink:
		return os.Symlink(e.data, path)
	default:
		return os.WriteFile(path, []byte(e.data), 0o600)
	}
}

func (e entry) finish(path string) error {
	if e.mode.Type() == modeLink {
		return nil
	}
	when := e.time
	if when.IsZero() {
		when = captureTime
	}
	if err := os.Chtimes(path, when, when); err != nil {
		return err
	}
	return os.Chmod(path, e.mode)
}

// workspace is a capture of a tree: a layer on disk and what to copy.
type workspace struct {
	tree  tree
	layer string
}

// newWorkspace captures a tree.
func newWorkspace(t testing.TB, files tree) *workspace {
	t.Helper()
	w := &workspace{tree: files, layer: t.TempDir()}
	if err := os.Chmod(w.layer, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := files.write(w.layer); err != nil {
		t.Fatalf("make the workspace: %v", err)
	}
	return w
}

func (w *workspace) ID() string {
	return fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%+v", w.tree)))
}

func (w *workspace) Layers() []string { return []string{w.layer} }

func (w *workspace) CopyTo(ctx context.Context, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return w.tree.write(dir)
}
