//go:build linux

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/strata-ci/strata/internal/filetree"
	"github.com/strata-ci/strata/runner"
)

// Copy is the writable state of one running step on a machine without
// overlays: its trees are copies of its parent's. It ends with Commit or Discard.
type Copy struct{ branch }

// Parent is what the step's parent left of one tree: a directory that never
// changes, and the modes that differ from those in it.
type Parent struct {
	Dir   string
	Modes filetree.Modes
	layer string
}

// Beside returns the path of a file that was kept beside the parent's trees.
func (p *Parent) Beside(name string) string { return filepath.Join(p.layer, name) }

// Copy starts a copy: fill puts into the directory of each tree what the step is
// to see there, from what its parent left; nil without one. An unknown parent is
// an *runner.InfraError of KindSnapshot.
func (s *Store) Copy(ctx context.Context, parent runner.SnapshotRef, fill func(c *Copy, tree Tree, from *Parent) error) (*Copy, error) {
	b, err := s.branch(parent)
	if err != nil {
		return nil, err
	}
	c := &Copy{b}
	if err = c.mkdir(); err == nil {
		err = c.fill(fill)
	}
	if err == nil {
		return c, nil
	}
	c.Discard()
	if cause := ctx.Err(); cause != nil && errors.Is(err, cause) {
		return nil, cause
	}
	return nil, runner.AsInfra("copy the files for the step", err)
}

func (c *Copy) fill(fill func(c *Copy, tree Tree, from *Parent) error) error {
	for _, tree := range []Tree{Root, Workspace} {
		if err := os.Mkdir(c.Dir(tree), 0o755); err != nil {
			return err
		}
		var from *Parent
		if len(c.chain) > 0 {
			l := c.chain[0]
			from = &Parent{Dir: filepath.Join(l.dir, string(tree)), Modes: l.modes.Below(string(tree)), layer: l.dir}
		}
		if err := fill(c, tree, from); err != nil {
			return err
		}
	}
	return nil
}

// Beside returns the path of a file that is to be kept beside the trees.
func (c *Copy) Beside(name string) string { return filepath.Join(c.dir, name) }

// Dir returns the directory that holds a tree.
func (c *Copy) Dir(tree Tree) string { return filepath.Join(c.dir, string(tree)) }

// Sub returns a directory inside of a tree. Anything else there, also a symbolic
// link on the way, is an error: a step's links must not lead out of its copy.
func (c *Copy) Sub(tree Tree, at string) (string, error) {
	s, err := find(c.Dir(tree), strings.Split(at, "/"))
	if err == nil && s.dir == "" {
		err = fmt.Errorf("the directory /%s is gone", at)
	}
	return s.dir, err
}

// Commit makes the trees a new snapshot, in place of one of that name, and ends
// the copy, also if it fails: then there is no new snapshot. Nothing may be
// mounted on the trees any more.
func (c *Copy) Commit(ref runner.SnapshotRef) error {
	return c.commit(ref, func() ([]*layer, error) {
		modes, err := filetree.OpenUp(c.dir)
		if err != nil {
			return nil, err
		}
		l, err := c.store.newLayer(c.dir)
		l.modes = modes
		return []*layer{l}, err
	})
}
