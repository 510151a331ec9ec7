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

// Copy starts a copy of parent. Without a parent, fresh fills the directory of
// each tree instead. An unknown parent is an *runner.InfraError of KindSnapshot.
func (s *Store) Copy(ctx context.Context, parent runner.SnapshotRef, fresh func(tree Tree, dir string) error) (*Copy, error) {
	b, err := s.branch(parent)
	if err != nil {
		return nil, err
	}
	c := &Copy{b}
	if err = c.mkdir(); err != nil {
		c.Discard()
		return nil, err
	}
	if len(c.chain) > 0 {
		err = filetree.Copy(ctx, c.chain[0].dir, c.dir, c.chain[0].modes)
	} else {
		err = c.fill(fresh)
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

func (c *Copy) fill(fresh func(tree Tree, dir string) error) error {
	for _, tree := range []Tree{Root, Workspace} {
		if err := os.Mkdir(c.Dir(tree), 0o755); err != nil {
			return err
		}
		if err := fresh(tree, c.Dir(tree)); err != nil {
			return err
		}
	}
	return nil
}

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
