//go:build !windows

package filetree_test

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/internal/filetree"
)

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func write(t *testing.T, path, data string, mode fs.FileMode) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(data), 0o600), os.Chmod(path, mode))
}

func stat(t *testing.T, path string) *unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return &st
}

func TestCopyKeepsWhatAFileSystemHolds(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	old := time.Unix(1e9, 123456789)
	write(t, filepath.Join(src, "dir/run"), "#!/bin/sh\n", 0o755|fs.ModeSetuid)
	write(t, filepath.Join(src, "secret"), "s", 0o600)
	must(t,
		os.Link(filepath.Join(src, "secret"), filepath.Join(src, "dir/same")),
		os.Symlink("/nowhere", filepath.Join(src, "link")),
		unix.Mkfifo(filepath.Join(src, "fifo"), 0o640),
		os.Mkdir(filepath.Join(src, "empty\n\xff"), 0o700),
		os.Chtimes(filepath.Join(src, "secret"), old, old),
		os.Chtimes(filepath.Join(src, "dir"), old, old),
		os.Chmod(filepath.Join(src, "dir"), 0o777|fs.ModeSticky),
		os.Chtimes(src, old, old))
	must(t, filetree.Copy(context.Background(), src, dst, nil))
	for _, rel := range []string{".", "dir", "dir/run", "dir/same", "secret", "link", "fifo", "empty\n\xff"} {
		a, b := stat(t, filepath.Join(src, rel)), stat(t, filepath.Join(dst, rel))
		if a.Mode != b.Mode || a.Mtim != b.Mtim || a.Uid != b.Uid || a.Gid != b.Gid || a.Nlink != b.Nlink {
			t.Errorf("%q: is %+v, its copy %+v", rel, a, b)
		}
	}
	if stat(t, filepath.Join(dst, "secret")).Ino != stat(t, filepath.Join(dst, "dir/same")).Ino {
		t.Error("two names of one file are two files")
	}
	if target, err := os.Readlink(filepath.Join(dst, "link")); target != "/nowhere" {
		t.Errorf("the link leads to %q, %v", target, err)
	}
	if data, err := os.ReadFile(filepath.Join(dst, "dir/run")); string(data) != "#!/bin/sh\n" {
		t.Errorf("the file holds %q, %v", data, err)
	}
}

func TestCopyKeepsHoles(t *testing.T) {
	src, dst := filepath.Join(t.TempDir(), "src"), filepath.Join(t.TempDir(), "dst")
	const size = 8 << 20
	for _, at := range []int64{-1, 0, size / 2, size - 5} { // -1: nothing but a hole
		os.Remove(src)
		os.Remove(dst)
		f, err := os.Create(src)
		must(t, err)
		must(t, f.Truncate(size))
		if at >= 0 {
			_, err = f.WriteAt([]byte("data!"), at)
		}
		must(t, err, f.Close(), filetree.CopyFile(src, dst))
		want, err := os.ReadFile(src)
		must(t, err)
		got, err := os.ReadFile(dst)
		must(t, err)
		if !bytes.Equal(got, want) {
			t.Errorf("data at %d: the copy differs", at)
		}
		if a, b := stat(t, src).Blocks, stat(t, dst).Blocks; b > a+64 {
			t.Errorf("data at %d: %d blocks became %d", at, a, b)
		}
	}
}

func TestOpenUpCopyAndRemoveOfClosedDirectories(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	write(t, filepath.Join(src, "closed/in/file"), "x", 0)
	must(t, os.Chmod(filepath.Join(src, "closed/in"), 0o100), os.Chmod(filepath.Join(src, "closed"), 0))
	modes, err := filetree.OpenUp(src)
	must(t, err, filetree.Copy(context.Background(), src, dst, modes))
	if mode := stat(t, filepath.Join(dst, "closed")).Mode & 0o7777; mode != 0 {
		t.Errorf("the mode of the copy is %o", mode)
	}
	must(t, os.Chmod(filepath.Join(dst, "closed"), 0o700))
	if mode := stat(t, filepath.Join(dst, "closed/in")).Mode & 0o7777; mode != 0o100 {
		t.Errorf("the mode of the copy below is %o", mode)
	}
	must(t, os.Chmod(filepath.Join(dst, "closed"), 0))
	for range 2 {
		must(t, filetree.Remove(dst))
	}
	if _, err := os.Lstat(dst); err == nil {
		t.Error("it is still there")
	}
}

func TestRemoveFollowsNoLink(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write(t, filepath.Join(outside, "precious"), "x", 0o600)
	must(t, os.Symlink(outside, filepath.Join(dir, "link")), filetree.Remove(dir))
	stat(t, filepath.Join(outside, "precious"))
}
