//go:build linux

package snapshottest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/strata-ci/strata/internal/filetree"
	"github.com/strata-ci/strata/internal/sandbox"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// Driver is an open store that keeps snapshots in one way. A test opens several
// on one directory, as processes do.
type Driver interface {
	// Fork starts a fork of a parent, or of the image for the empty name.
	Fork(parent runner.SnapshotRef) (Fork, error)
	Remove(refs ...runner.SnapshotRef) error
	Usage() (pipeline.Bytes, error)
	Keep(ctx context.Context, refs []runner.SnapshotRef) ([]runner.KeptSnapshot, error)
	Check(ctx context.Context, ref runner.SnapshotRef, depth runner.CheckDepth) error
	Sweep(ctx context.Context, full bool) error
	// Close ends the store; the test may leave that to the factory.
	Close() error
	// Crash ends the store as the end of its process does.
	Crash()
}

// Fork is the state of a step. It ends with Commit or Discard.
type Fork interface {
	// Mounts put the step's root together, in order.
	Mounts() []sandbox.Mount
	Commit(ref runner.SnapshotRef) error
	Discard()
}

// Image is where steps without a parent start. The workspace is mounted at
// "workspace". Where System says so, the directories "usr" and "var/lib" of the
// root are mounts of their own, over Usr and Lib.
type Image struct{ Root, Usr, Lib, Workspace string }

// Properties tell what applies to a driver.
type Properties struct {
	// System: steps can change the system directories.
	System bool
	// Layers: a fork costs the same for every parent, and a snapshot is a chain
	// of layers, flattened when it has more than MaxLayers of the store.
	Layers bool
}

// Factory opens the store in a directory, which is empty at first, and closes it
// by t.Cleanup if that was not done before. A store that keeps layers flattens
// chains of more than maxLayers.
type Factory func(t testing.TB, dir string, image Image, maxLayers int) Driver

// Run holds what factory opens against the promises.
func Run(t *testing.T, factory Factory, props Properties) {
	s := &suite{factory: factory, props: props, helper: startHelper(t)}
	for _, tt := range slices.Concat(tests, keepTests) {
		if tt.needs == nil || tt.needs(props) {
			t.Run(tt.name, func(t *testing.T) { tt.fn(s.open(t, t.TempDir(), manyLayers)) })
		}
	}
	t.Run("every tree survives", s.everyTree)
	t.Run("what is kept outlives every process", s.everyHistory)
}

const manyLayers = 64

type suite struct {
	factory Factory
	props   Properties
	helper  *helper
}

// check is one test's store.
type check struct {
	*testing.T
	*suite
	dir    string // of the store
	image  Image
	driver Driver
	root   string // where forks are mounted
	made   int
}

func (s *suite) open(t *testing.T, dir string, maxLayers int) *check {
	c := &check{T: t, suite: s, dir: filepath.Join(dir, "store"), root: filepath.Join(dir, "mnt")}
	c.image = Image{
		Root: filepath.Join(dir, "image"), Usr: filepath.Join(dir, "usr"),
		Lib: filepath.Join(dir, "lib"), Workspace: filepath.Join(dir, "sources"),
	}
	c.must(os.MkdirAll(c.dir, 0o755), os.Mkdir(c.root, 0o755))
	for _, d := range []string{
		c.image.Workspace, c.image.Usr, c.image.Lib, filepath.Join(c.image.Root, "usr"),
		filepath.Join(c.image.Root, "var/lib"), filepath.Join(c.image.Root, "workspace"),
	} {
		c.must(os.MkdirAll(d, 0o755))
	}
	c.fillImage(c.image.Workspace)
	c.fillImage(c.image.Usr)
	t.Cleanup(func() { c.must(filetree.Remove(c.dir)) }) // the tests' own clean-up stops at closed directories
	c.driver = s.factory(t, c.dir, c.image, maxLayers)
	return c
}

// fillImage makes a small tree.
func (c *check) fillImage(dir string) {
	for _, op := range []Op{
		{Do: Write, Path: "a", To: "a"},
		{Do: Mkdir, Path: "b"},
		{Do: Write, Path: "b/a", To: "b/a"},
		{Do: Mkdir, Path: "b/b"},
		{Do: Write, Path: "b/b/a", To: "b/b/a"},
		{Do: Symlink, Path: "b/b/c", To: "a"},
		{Do: Mkdir, Path: "c"},
		{Do: Mkdir, Path: "c/c"},
		{Do: Touch, Path: "c"},
	} {
		c.must(apply(dir, op))
	}
}

func (c *check) must(errs ...error) {
	c.Helper()
	for _, err := range errs {
		if err != nil {
			c.Fatal(err)
		}
	}
}

func (c *check) fork(parent runner.SnapshotRef) Fork {
	c.Helper()
	f, err := c.driver.Fork(parent)
	c.must(err)
	return f
}

// in changes a path of a mounted fork and returns what is there then.
func (c *check) in(f Fork, at string, ops ...Op) Tree {
	c.Helper()
	a, err := c.ask(f, at, ops...)
	c.must(err)
	for i, e := range a.Errors {
		if e != "" {
			c.Fatalf("%v: %s", ops[i], e)
		}
	}
	return a.Tree
}

func (c *check) ask(f Fork, at string, ops ...Op) (answer, error) {
	return c.helper.ask(request{Store: c.dir, Mounts: f.Mounts(), Root: c.root, At: at, Ops: ops})
}

// step changes a path in a fork of the parent and commits.
func (c *check) step(parent runner.SnapshotRef, at string, ops ...Op) runner.SnapshotRef {
	c.Helper()
	f := c.fork(parent)
	c.in(f, at, ops...)
	c.made++
	ref := runner.SnapshotRef("s" + strconv.Itoa(c.made))
	c.must(f.Commit(ref))
	return ref
}

// tree returns what a fork of a snapshot shows at a path.
func (c *check) tree(ref runner.SnapshotRef, at string) Tree {
	c.Helper()
	f := c.fork(ref)
	defer f.Discard()
	return c.in(f, at)
}

// want fails unless a fork of ref shows the nodes at a path. A nil one is
// nothing.
func (c *check) want(ref runner.SnapshotRef, at string, nodes map[string]*Node) {
	c.Helper()
	tree := c.tree(ref, at)
	for p, want := range nodes {
		got, there := tree[p]
		switch {
		case want == nil && there:
			c.Errorf("%s: %s is still there: %+v", ref, p, got)
		case want != nil && got != *want:
			c.Errorf("%s: %s is %+v, want %+v", ref, p, got, *want)
		}
	}
}

// activeDirs matches the directories of the store that hold forks.
const activeDirs = "live/run-*/active"

// active lists what forks have in the store.
func (c *check) active() []string {
	c.Helper()
	if _, err := c.driver.Usage(); err != nil { // waits until all is removed
		c.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(c.dir, activeDirs, "*"))
	c.must(err)
	return names
}

func (c *check) usage() pipeline.Bytes {
	c.Helper()
	u, err := c.driver.Usage()
	c.must(err)
	return u
}

func (c *check) wantKind(err error, kind runner.InfraKind) {
	c.Helper()
	var infra *runner.InfraError
	if !errors.As(err, &infra) || infra.Kind != kind {
		c.Errorf("the error is %v, want an InfraError of kind %s", err, kind)
	}
}

// diff compares trees. Between layers, overlayfs does not keep apart which
// names are one file.
func diff(want, got Tree) string {
	return cmp.Diff(want, got, cmpopts.IgnoreFields(Node{}, "Links"))
}

func file(data string) *Node { return &Node{Mode: 0o100644, Data: data, Links: 1} }

func dir(mode uint32) *Node { return &Node{Mode: 0o040000 | mode} }

func (o Op) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s %o", o.Do, o.Path, o.To, o.Mode))
}
