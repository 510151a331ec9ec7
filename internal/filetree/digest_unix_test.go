//go:build !windows

package filetree_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/internal/filetree"
)

func digest(t *testing.T, dir string) filetree.Sum {
	t.Helper()
	sum, err := filetree.Digest(context.Background(), dir, true)
	must(t, err)
	if light, err := filetree.Digest(context.Background(), dir, false); err != nil || light.Files != sum.Files || light.Contents != [32]byte{} {
		t.Fatalf("without contents: %x, %v, want the files' digest %x alone", light, err, sum.Files)
	}
	return sum
}

// digestTree makes a tree with an entry of each kind.
func digestTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, sub := range []string{"a", "b", "b/c", "empty"} {
		for i := range 5 {
			write(t, filepath.Join(dir, sub, fmt.Sprint("file", i)), fmt.Sprint("data", i), 0o644)
		}
	}
	must(t,
		os.RemoveAll(filepath.Join(dir, "empty")), os.Mkdir(filepath.Join(dir, "empty"), 0o755),
		os.Symlink("a/file1", filepath.Join(dir, "link")),
		unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	return dir
}

func TestDigestFollowsEachChange(t *testing.T) {
	for name, tt := range map[string]struct {
		change       func(t *testing.T, dir string)
		onlyContents bool
	}{
		"added file":   {change: func(t *testing.T, dir string) { write(t, filepath.Join(dir, "b/c/new"), "", 0o644) }},
		"removed file": {change: func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "b/c/file3"))) }},
		"renamed file": {change: func(t *testing.T, dir string) {
			must(t, os.Rename(filepath.Join(dir, "a/file0"), filepath.Join(dir, "a/x")))
		}},
		"added dir":     {change: func(t *testing.T, dir string) { must(t, os.Mkdir(filepath.Join(dir, "a/d"), 0o755)) }},
		"mode":          {change: func(t *testing.T, dir string) { must(t, os.Chmod(filepath.Join(dir, "a/file2"), 0o755)) }},
		"mode of a dir": {change: func(t *testing.T, dir string) { must(t, os.Chmod(filepath.Join(dir, "b/c"), 0o700)) }},
		"mode of root":  {change: func(t *testing.T, dir string) { must(t, os.Chmod(dir, 0o711)) }},
		"size":          {change: func(t *testing.T, dir string) { keepTime(t, filepath.Join(dir, "a/file2"), "longer than before") }},
		"time": {change: func(t *testing.T, dir string) {
			must(t, os.Chtimes(filepath.Join(dir, "a/file2"), time.Time{}, time.Unix(1, 1)))
		}},
		"time of a dir": {change: func(t *testing.T, dir string) {
			must(t, os.Chtimes(filepath.Join(dir, "b"), time.Time{}, time.Unix(1, 1)))
		}},
		"target": {change: func(t *testing.T, dir string) {
			link := filepath.Join(dir, "link")
			must(t, os.Remove(link), os.Symlink("a/file2", link))
		}},
		"kind": {change: func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, "fifo")))
			write(t, filepath.Join(dir, "fifo"), "", 0o600)
		}},
		"contents alone": {onlyContents: true, change: func(t *testing.T, dir string) { keepTime(t, filepath.Join(dir, "b/c/file4"), "atad4") }},
	} {
		t.Run(name, func(t *testing.T) {
			dir := digestTree(t)
			before := digest(t, dir)
			tt.change(t, dir)
			after := digest(t, dir)
			if (before.Files == after.Files) != tt.onlyContents {
				t.Errorf("the files' digest: before %x, after %x", before.Files, after.Files)
			}
			if before.Contents == after.Contents {
				t.Error("the contents' digest is as before")
			}
		})
	}
}

// keepTime writes to a file as one that wants to hide it.
func keepTime(t *testing.T, path, data string) {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err, os.WriteFile(path, []byte(data), 0), os.Chtimes(path, info.ModTime(), info.ModTime()))
}

func TestDigestIgnoresWhatIsNotATreesOwn(t *testing.T) {
	dir := digestTree(t)
	before := digest(t, dir)
	if again := digest(t, dir); again != before {
		t.Errorf("a second look gives %x, want %x", again, before)
	}
	moved := filepath.Join(t.TempDir(), "moved")
	must(t, os.Rename(dir, moved))
	must(t, os.Link(filepath.Join(moved, "a/file1"), filepath.Join(t.TempDir(), "other")))
	_, err := os.ReadFile(filepath.Join(moved, "a/file2"))
	must(t, err)
	if after := digest(t, moved); after != before {
		t.Errorf("after a rename, a hard link and a read: %x, want %x", after, before)
	}
	copied := t.TempDir()
	must(t, filetree.Copy(context.Background(), moved, copied, nil))
	if after := digest(t, copied); after.Contents != before.Contents || after.Files != before.Files {
		t.Errorf("a copy has %x, want %x", after, before)
	}
}

func TestDigestCountsBlocksOnce(t *testing.T) {
	dir := t.TempDir()
	const size = 1 << 20
	write(t, filepath.Join(dir, "file"), string(make([]byte, size)), 0o600)
	must(t, os.Mkdir(filepath.Join(dir, "d"), 0o755), os.Link(filepath.Join(dir, "file"), filepath.Join(dir, "d/again")))
	if sum := digest(t, dir); sum.Blocks < size || sum.Blocks > size+size/4 {
		t.Errorf("a file of %d bytes with two names occupies %d", size, sum.Blocks)
	}
	must(t, os.Truncate(filepath.Join(dir, "file"), 0), os.Truncate(filepath.Join(dir, "file"), 100*size))
	if sum := digest(t, dir); sum.Blocks > size {
		t.Errorf("a hole of 100 MiB occupies %d bytes", sum.Blocks)
	}
}

func TestDigestOfNothing(t *testing.T) {
	ctx := context.Background()
	dir := digestTree(t)
	for _, path := range []string{"missing", "link", "a/file1"} {
		if sum, err := filetree.Digest(ctx, filepath.Join(dir, path), false); err == nil {
			t.Errorf("%s: got %x, want an error", path, sum)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := filetree.Digest(ctx, dir, false); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}

func BenchmarkDigest(b *testing.B) {
	dir := b.TempDir()
	for i := range 1000 {
		sub := filepath.Join(dir, fmt.Sprint(i%10), fmt.Sprint(i))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			b.Fatal(err)
		}
		for j := range 100 {
			if err := os.WriteFile(filepath.Join(sub, fmt.Sprint(j)), []byte("x"), 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	for b.Loop() {
		if _, err := filetree.Digest(context.Background(), dir, false); err != nil {
			b.Fatal(err)
		}
	}
}
