//go:build linux

package snapshottest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/strata-ci/strata/internal/filetree"
	"github.com/strata-ci/strata/internal/sandbox"
	"github.com/strata-ci/strata/runner"
)

// everyTree makes the same random changes in forks and in a plain directory,
// and compares what there is to see, layer by layer. Chains are flattened
// often.
func (s *suite) everyTree(t *testing.T) {
	count := 0
	base := t.TempDir()
	rapid.Check(t, func(r *rapid.T) {
		count++
		c := s.open(t, filepath.Join(base, fmt.Sprint(count)), rapid.IntRange(1, 3).Draw(r, "layers"))
		model := filepath.Join(filepath.Dir(c.dir), "model")
		c.must(os.Mkdir(model, 0o755))
		t.Cleanup(func() { c.must(filetree.Remove(model)) })
		c.fillImage(model)
		var parent runner.SnapshotRef
		for range rapid.IntRange(1, 5).Draw(r, "steps") {
			ops := rapid.SliceOfN(operation(), 0, 12).Draw(r, "ops")
			want, err := s.helper.ask(request{Root: model, Ops: ops})
			c.must(err)
			f := c.fork(parent)
			got, err := c.helper.ask(request{Store: c.dir, Mounts: workspaceOf(f), Root: c.root, Ops: ops})
			c.must(err)
			for i, op := range ops {
				if want.Errors[i] != got.Errors[i] {
					r.Fatalf("%v: %q, want %q", op, got.Errors[i], want.Errors[i])
				}
			}
			if d := diff(want.Tree, got.Tree); d != "" {
				r.Fatalf("in the fork: %s", d)
			}
			c.made++
			ref := runner.SnapshotRef(fmt.Sprint("s", c.made))
			c.must(f.Commit(ref))
			child := c.fork(ref)
			got, err = s.helper.ask(request{Store: c.dir, Mounts: workspaceOf(child), Root: c.root})
			c.must(err)
			child.Discard()
			if d := diff(want.Tree, got.Tree); d != "" {
				r.Fatalf("in a child: %s", d)
			}
			if parent != "" && rapid.Bool().Draw(r, "reap") {
				c.must(c.driver.Remove(parent))
			}
			parent = ref
		}
	})
}

// workspaceOf returns the mount of a fork's workspace alone, which is faster.
func workspaceOf(f Fork) []sandbox.Mount {
	for _, m := range f.Mounts() {
		if m.Target == "workspace" {
			m.Target = "."
			return []sandbox.Mount{m}
		}
	}
	return nil
}

// operation draws a change of a small tree, so that changes meet.
func operation() *rapid.Generator[Op] {
	return rapid.Custom(func(r *rapid.T) Op {
		path := rapid.Custom(func(r *rapid.T) string {
			return filepath.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "b", "c"}), 1, 3).Draw(r, "names")...)
		})
		op := Op{
			Do: rapid.SampledFrom([]string{
				Write, Append, Mkdir, Mkdir, Remove, RemoveAll, Rename, Rename, Symlink, Link, Chmod, Attribute, Touch,
			}).Draw(r, "do"),
			Path: path.Draw(r, "path"),
		}
		switch op.Do {
		case Write, Append, Attribute:
			op.To = rapid.StringOfN(rapid.RuneFrom([]rune("xyz")), 1, 4, -1).Draw(r, "data")
		case Rename, Link:
			op.To = path.Draw(r, "to")
		case Symlink:
			op.To = rapid.SampledFrom([]string{"a", "b", "b/c"}).Draw(r, "target")
		case Chmod:
			op.Mode = rapid.SampledFrom([]uint32{0, 0o111, 0o444, 0o500, 0o644, 0o700, 0o755, 0o1777, 0o2755, 0o4755}).Draw(r, "mode")
		}
		if (op.Do == Chmod || op.Do == Attribute || op.Do == Touch) && rapid.IntRange(0, 4).Draw(r, "root") == 0 {
			op.Path = "."
		}
		return op
	})
}
