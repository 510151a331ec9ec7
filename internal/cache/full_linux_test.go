package cache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/internal/cache"
	"github.com/strata-ci/strata/runner"
)

// TestCollectionOnAFullDisk fills the file system to its last block. Snapshots
// are files there, so that removing them makes room.
func TestCollectionOnAFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a small file system")
	}
	dir := t.TempDir()
	if err := unix.Mount("strata-test", dir, "tmpfs", 0, "size=16m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	f := setupIn(t, dir)
	const results, size = 100, 64 << 10
	for i := range results {
		name := fmt.Sprint("s", i)
		f.put(name, name)
		if err := os.WriteFile(filepath.Join(dir, "run."+name), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f.collect(1 << 40)
	ballast, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	defer ballast.Close()
	if _, err := io.Copy(ballast, neverEnding{}); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	for i := 0; ; i++ { // until the records too have no room left
		err := f.Put(t.Context(), []cache.Result{f.result(fmt.Sprint("more", i), "more")})
		if runner.IsDiskFull(err) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	files := filesReaper{dir}
	r, err := f.Collect(t.Context(), limits(0), map[string]runner.SnapshotReaper{"r": files}, plenty)
	if err != nil {
		t.Errorf("%+v, %v", r, err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "run.s*"))
	if err != nil || len(left) > 0 {
		t.Errorf("%d snapshots are left, %v", len(left), err)
	}
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return copy(p, bytes.Repeat([]byte{1}, len(p))), nil }

// filesReaper reaps snapshots that are files.
type filesReaper struct{ dir string }

func (r filesReaper) ReapSnapshots(_ context.Context, refs []runner.SnapshotRef) error {
	var errs []error
	for _, ref := range refs {
		if err := os.Remove(filepath.Join(r.dir, string(ref))); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
