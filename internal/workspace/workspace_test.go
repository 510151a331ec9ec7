package workspace_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-ci/strata/internal/workspace"
)

// project is a working tree with its store.
type project struct {
	t     *testing.T
	root  string
	state string
	opts  workspace.Options
}

func newProject(t *testing.T) *project {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	return &project{t: t, root: t.TempDir(), state: filepath.Join(t.TempDir(), "state")}
}

func (p *project) path(name string) string { return filepath.Join(p.root, name) }

func (p *project) write(name, content string) {
	p.t.Helper()
	must(p.t, os.MkdirAll(filepath.Dir(p.path(name)), 0o755))
	must(p.t, os.WriteFile(p.path(name), []byte(content), 0o644))
}

func (p *project) open() *workspace.Store {
	p.t.Helper()
	s, err := workspace.Open(p.state, p.root, p.opts)
	must(p.t, err)
	return s
}

func (p *project) capture() (*workspace.Capture, workspace.Stats) {
	p.t.Helper()
	c, stats, err := p.open().Capture(p.t.Context())
	must(p.t, err)
	p.t.Cleanup(func() { must(p.t, c.Close()) })
	return c, stats
}

func (p *project) captureError() error {
	p.t.Helper()
	c, _, err := p.open().Capture(p.t.Context())
	if err == nil {
		must(p.t, c.Close())
		p.t.Fatal("the capture succeeded")
	}
	return err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// listTree lists a tree, one line per entry: mode, time, and content or target.
func listTree(root string) (map[string]string, error) {
	out := make(map[string]string)
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		out[rel], err = describe(path)
		return err
	})
	return out, err
}

func describe(path string) (string, error) {
	fi, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	switch {
	case fi.Mode().IsRegular():
		data, err := os.ReadFile(path)
		return fmt.Sprintf("%v %d %s", fi.Mode(), fi.ModTime().UnixNano(), data), err
	case fi.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		return fmt.Sprintf("link %d %s", fi.ModTime().UnixNano(), target), err
	}
	return fmt.Sprintf("%v %d", fi.Mode(), fi.ModTime().UnixNano()), nil
}

func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	list, err := listTree(root)
	must(t, err)
	return list
}

func copied(t *testing.T, c *workspace.Capture) map[string]string {
	t.Helper()
	dir := t.TempDir()
	must(t, c.CopyTo(context.Background(), dir))
	return tree(t, dir)
}

func same(t *testing.T, what string, want, got map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s differs (-want +got):\n%s", what, diff)
	}
}

func paths(c *workspace.Capture) []string {
	var list []string
	for e := range c.Entries() {
		list = append(list, e.Path)
	}
	return list
}

func TestCaptureIsTheTree(t *testing.T) {
	p := newProject(t)
	p.write("main.go", "package main\n")
	p.write("deep/er/file", "x")
	p.write("new\nline", "n")
	must(t, os.Mkdir(p.path("empty"), 0o700))
	must(t, os.Symlink("nowhere", p.path("dangling")))
	must(t, os.Symlink("loop", p.path("loop")))
	must(t, os.Symlink("/etc", p.path("deep/outside")))
	must(t, os.Chmod(p.path("main.go"), 0o751))
	c, stats := p.capture()
	same(t, "the copy", tree(t, p.root), copied(t, c))
	if stats.Files != 9 || stats.Changed != 10 || stats.Bytes != 15 {
		t.Errorf("stats: %+v", stats)
	}
	again, stats := p.capture()
	if again.ID() != c.ID() || stats.Changed != 0 || stats.Files != 9 {
		t.Errorf("a second capture of the same tree: ID %s, then %s; %+v", c.ID(), again.ID(), stats)
	}
	if got := strings.Join(paths(c), " "); got != "dangling deep deep/er deep/er/file deep/outside empty loop main.go new\nline" {
		t.Errorf("entries: %q", got)
	}
}

func TestIDIsOfPathsModesAndContents(t *testing.T) {
	p := newProject(t)
	p.write("f", "x")
	must(t, os.Symlink("f", p.path("link")))
	must(t, os.Mkdir(p.path("dir"), 0o755))
	last, _ := p.capture()
	for _, step := range []struct {
		name    string
		do      func() error
		differs bool
		changed int
	}{
		{"nothing", func() error { return nil }, false, 0},
		{"another time", func() error { return os.Chtimes(p.path("f"), time.Unix(1, 5), time.Unix(1, 5)) }, false, 1},
		{"a directory's time", func() error { return os.Chtimes(p.path("dir"), time.Unix(1, 5), time.Unix(1, 5)) }, false, 0},
		{"a mode", func() error { return os.Chmod(p.path("f"), 0o600) }, true, 1},
		{"a directory's mode", func() error { return os.Chmod(p.path("dir"), 0o700) }, true, 1},
		{"content of the same size and time", func() error {
			return errors.Join(os.WriteFile(p.path("f"), []byte("y"), 0o644), os.Chtimes(p.path("f"), time.Unix(1, 5), time.Unix(1, 5)))
		}, true, 1},
		{"a target", func() error { return errors.Join(os.Remove(p.path("link")), os.Symlink("g", p.path("link"))) }, true, 1},
		{"a new name", func() error { return os.Rename(p.path("f"), p.path("g")) }, true, 2},
		{"an empty directory", func() error { return os.Mkdir(p.path("new"), 0o755) }, true, 1},
		{"that directory gone", func() error { return os.Remove(p.path("new")) }, true, 1},
		{"set-user-ID", func() error { return os.Chmod(p.path("g"), 0o600|fs.ModeSetuid|fs.ModeSetgid) }, false, 1},
	} {
		must(t, step.do())
		c, stats := p.capture()
		if differs := c.ID() != last.ID(); differs != step.differs || stats.Changed != step.changed {
			t.Errorf("%s: another ID: %v, changed: %d", step.name, differs, stats.Changed)
		}
		last = c
	}
	for e := range last.Entries() {
		if e.Path == "g" && (e.Mode != 0o600 || e.Size != 1 || e.Digest != sha256.Sum256([]byte("y"))) {
			t.Errorf("the entry of g is %+v", e)
		}
	}
	fi, err := os.Lstat(filepath.Join(p.state, "layers"))
	must(t, err)
	if fi.Mode().Perm() != 0o700 {
		t.Errorf("the state's mode is %v", fi.Mode())
	}
}

func TestAnUnchangedIndexIsNotWritten(t *testing.T) {
	p := newProject(t)
	p.write("f", "x")
	must(t, os.Symlink("f", p.path("link")))
	index := filepath.Join(p.state, "index")
	var before fs.FileInfo
	for range 3 { // until the files are too old to be read again
		waitForClock(t, p.path("f"), p.path("link"))
		p.capture()
		fi, err := os.Stat(index)
		must(t, err)
		if before != nil && os.SameFile(before, fi) {
			return
		}
		before = fi
	}
	t.Error("the index was written each time")
}

// waitForClock returns when the files' times are surely in the past.
func waitForClock(t *testing.T, files ...string) {
	t.Helper()
	for _, file := range files {
		fi, err := os.Lstat(file)
		must(t, err)
		for limit := fi.ModTime().Add(25 * time.Millisecond); time.Now().Before(limit); {
			runtime.Gosched()
		}
	}
}

func TestADamagedStateIsMadeAnew(t *testing.T) {
	p := newProject(t)
	p.write("d/f", "x")
	first, _ := p.capture()
	index := filepath.Join(p.state, "index")
	good, err := os.ReadFile(index)
	must(t, err)
	damage := map[string]func() error{
		"empty":         func() error { return os.Truncate(index, 0) },
		"cut off":       func() error { return os.Truncate(index, int64(len(good)-1)) },
		"longer":        func() error { return os.WriteFile(index, append(slices.Clone(good), 0), 0o600) },
		"another file":  func() error { return os.WriteFile(index, []byte("something else entirely"), 0o600) },
		"no layers":     func() error { return os.RemoveAll(filepath.Join(p.state, "layers")) },
		"no layer":      func() error { return removeAll(filepath.Join(p.state, "layers", "*", "tree")) },
		"another state": func() error { return os.WriteFile(index, flipped(good), 0o600) },
	}
	for name, do := range damage {
		must(t, do())
		c, stats := p.capture()
		if len(stats.Notes) != 1 || !strings.HasPrefix(stats.Notes[0], "captured everything anew: ") {
			t.Errorf("%s: notes %q", name, stats.Notes)
		}
		if c.ID() != first.ID() {
			t.Errorf("%s: another ID", name)
		}
		same(t, name, tree(t, p.root), copied(t, c))
	}
}

func removeAll(pattern string) error {
	matches, err := filepath.Glob(pattern)
	for _, m := range matches {
		err = errors.Join(err, os.RemoveAll(m))
	}
	return err
}

// flipped changes one bit in the middle.
func flipped(data []byte) []byte {
	data = slices.Clone(data)
	data[len(data)/2] ^= 8
	return data
}

func TestTreesThatAreSurelyNotMeant(t *testing.T) {
	p := newProject(t)
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
	for root, want := range map[string]string{
		"/":                              "is the whole file system",
		home:                             "is your home directory",
		p.path("none"):                   "no such file",
		filepath.Join(p.state, "layers"): "which holds Strata's own state",
	} {
		must(t, os.MkdirAll(filepath.Join(p.state, "layers"), 0o700))
		_, err := workspace.Open(p.state, root, workspace.Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one that says %q", root, err, want)
		}
	}
	must(t, os.WriteFile(filepath.Join(home, ".strataignore"), nil, 0o644))
	if _, err := workspace.Open(p.state, home, workspace.Options{}); err != nil {
		t.Errorf("a home directory with a .strataignore: %v", err)
	}
}

func TestTooManyEntries(t *testing.T) {
	p := newProject(t)
	for i := range 4 {
		p.write(fmt.Sprint("d/f", i), "")
	}
	p.opts.MaxEntries = 5
	p.capture()
	p.opts.MaxEntries = 4
	if err := p.captureError(); !strings.Contains(err.Error(), "has more than 4 entries: list what no step needs in .strataignore") {
		t.Errorf("the error is %v", err)
	}
}

func TestStateInTheTreeIsNotCaptured(t *testing.T) {
	p := newProject(t)
	p.state = p.path(".cache/strata/project")
	p.write(".cache/strata/runs/1/log", "x")
	p.write(".cache/other", "x")
	p.write(".strata/ci.star", "")
	p.opts.Exclude = []string{p.path(".cache/strata"), p.path("not there")}
	for range 2 {
		c, _ := p.capture()
		if got := strings.Join(paths(c), " "); got != ".cache .cache/other .strata .strata/ci.star" {
			t.Errorf("captured %q", got)
		}
	}
	p.opts.Exclude = nil
	c, _ := p.capture()
	if got := strings.Join(paths(c), " "); strings.Contains(got, "project") || !strings.Contains(got, "runs/1/log") {
		t.Errorf("with the store's own directory left out, captured %q", got)
	}
}

func TestCopyToReportsItsDirectory(t *testing.T) {
	p := newProject(t)
	p.write("f", "")
	c, _ := p.capture()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "f"), nil, 0o644))
	if err := c.CopyTo(t.Context(), dir); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), dir) {
		t.Errorf("a copy into a directory that is not empty: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.CopyTo(ctx, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled copy: %v", err)
	}
}

func TestACopyIsTheReceiversOwn(t *testing.T) {
	p := newProject(t)
	p.write("f", "x")
	c, _ := p.capture()
	dir := t.TempDir()
	must(t, c.CopyTo(t.Context(), dir))
	must(t, os.WriteFile(filepath.Join(dir, "f"), []byte("changed"), 0o644))
	same(t, "a second copy", tree(t, p.root), copied(t, c))
}
