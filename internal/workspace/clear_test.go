package workspace_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/strata-ci/strata/internal/workspace"
)

func TestClearLeavesWhatIsInUse(t *testing.T) {
	root, state := t.TempDir(), filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(filepath.Join(root, "file"), []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	store, err := workspace.Open(state, root, workspace.Options{})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	capture, _, err := store.Capture(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if used, err := workspace.LastUsed(state); err != nil || used.Before(begin.Add(-time.Second)) {
		t.Errorf("last used %v, %v", used, err)
	}
	layers := func() int {
		found, err := filepath.Glob(filepath.Join(state, "layers", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	if cleared, err := workspace.Clear(state); err != nil || !cleared || layers() != 1 {
		t.Errorf("%v, %v: %d layers are left of one that is in use", cleared, err, layers())
	}
	id := capture.ID()
	if err := capture.Close(); err != nil {
		t.Fatal(err)
	}
	if cleared, err := workspace.Clear(state); err != nil || !cleared || layers() != 0 {
		t.Errorf("%v, %v: %d layers are left", cleared, err, layers())
	}
	capture, stats, err := store.Capture(t.Context())
	if err != nil || capture.ID() != id || stats.Changed == 0 {
		t.Fatalf("%+v, %v", stats, err)
	}
	if err := capture.Close(); err != nil {
		t.Fatal(err)
	}
	if cleared, err := workspace.Clear(filepath.Join(state, "missing")); err != nil || cleared {
		t.Errorf("%v, %v", cleared, err)
	}
}
