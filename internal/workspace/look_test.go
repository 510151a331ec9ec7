package workspace_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-ci/strata/internal/workspace"
)

// stateOf lists a directory byte for byte, with the times of everything; nil
// if it does not exist.
func stateOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return tree(t, dir)
}

func TestLookWritesNothingAndSeesWhatACaptureSees(t *testing.T) {
	p := newProject(t)
	p.state = filepath.Join(p.root, ".state", "project") // in the tree, and not there yet
	must(t, os.Mkdir(p.path(".state"), 0o755))
	p.write("a", "1")
	p.write("d/b", "2")
	p.write("d/gone", "3")
	p.write(".gitignore", "*.o\n")
	p.write("x.o", "")
	must(t, os.MkdirAll(p.path("empty"), 0o750))
	must(t, os.Symlink("a", p.path("link")))
	for i, change := range []func(){
		func() {},
		func() {},
		func() { p.write("a", "other") },
		func() { must(t, os.Remove(p.path("d/gone"))) },
		func() { must(t, os.Chmod(p.path("d/b"), 0o755)) },
		func() { must(t, os.Chmod(p.path("empty"), 0o700)) },
		func() { must(t, os.Remove(p.path("link"))); must(t, os.Symlink("d", p.path("link"))) },
		func() { must(t, os.RemoveAll(p.path("d"))); p.write("d", "now a file") },
		func() { p.write(".gitignore", "") },
		func() { old := time.Unix(1, 0); must(t, os.Chtimes(p.path("a"), old, old)) },
	} {
		change()
		project, state := tree(t, p.root), stateOf(t, p.state)
		view := p.look()
		if diff := cmp.Diff(state, stateOf(t, p.state)); diff != "" {
			t.Fatalf("change %d: looking changed the state directory:\n%s", i, diff)
		}
		if diff := cmp.Diff(project, tree(t, p.root)); diff != "" {
			t.Fatalf("change %d: looking changed the tree:\n%s", i, diff)
		}
		capture, _ := p.capture()
		if view.ID() != capture.ID() {
			t.Errorf("change %d: the view is %s, the capture %s", i, view.ID(), capture.ID())
		}
		if diff := cmp.Diff(slices.Collect(capture.Entries()), slices.Collect(view.Entries())); diff != "" {
			t.Errorf("change %d: the capture has (-), the view has (+):\n%s", i, diff)
		}
	}
}

func TestLookAtADamagedStateIsAnewAndWritesNothing(t *testing.T) {
	p := newProject(t)
	p.write("a", "1")
	capture, _ := p.capture()
	must(t, os.WriteFile(filepath.Join(p.state, "index"), []byte("rubbish"), 0o600))
	before := tree(t, p.state)
	view, stats, err := p.open().Look(t.Context())
	must(t, err)
	if view.ID() != capture.ID() || len(stats.Notes) == 0 {
		t.Errorf("the view is %s with the notes %q, the capture %s", view.ID(), stats.Notes, capture.ID())
	}
	if diff := cmp.Diff(before, tree(t, p.state)); diff != "" {
		t.Errorf("looking changed the state directory:\n%s", diff)
	}
}

func TestLookEndsWithItsContext(t *testing.T) {
	p := newProject(t)
	p.write("a", "1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := p.open().Look(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

func TestEmptyIsAnEmptyTree(t *testing.T) {
	p := newProject(t)
	must(t, os.Chmod(p.root, 0o755))
	if empty, got := workspace.Empty().ID(), p.look().ID(); empty != got {
		t.Errorf("the empty view is %s, that of an empty directory %s", empty, got)
	}
}

// BenchmarkSelect50k selects the inputs of 20 steps among 50,000 files.
func BenchmarkSelect50k(b *testing.B) {
	b.Setenv("HOME", b.TempDir())
	root := b.TempDir()
	for d := range 2500 {
		dir := filepath.Join(root, fmt.Sprintf("pkg%02d", d/50), fmt.Sprintf("part%02d", d%50))
		check(b, os.MkdirAll(dir, 0o755))
		for f := range 20 {
			check(b, os.WriteFile(filepath.Join(dir, fmt.Sprintf("file%02d.go", f)), nil, 0o644))
		}
	}
	store, err := workspace.Open(filepath.Join(b.TempDir(), "state"), root, workspace.Options{})
	check(b, err)
	view, _, err := store.Look(b.Context())
	check(b, err)
	var lists []*workspace.Patterns
	for i := range 20 {
		p, err := workspace.CompilePatterns([]string{fmt.Sprintf("pkg%02d/**/*.go", i), fmt.Sprintf("**/file%02d.go", i), "!**/*_test.go"})
		check(b, err)
		lists = append(lists, p)
	}
	for b.Loop() {
		for _, p := range lists {
			view.Select(p, func(workspace.Entry) {})
		}
	}
}
