package workspace_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
