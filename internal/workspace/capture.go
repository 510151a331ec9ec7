package workspace

import (
	"context"
	"fmt"
	"iter"
	"os"
	"slices"
	"sync"

	"github.com/strata-ci/strata/runner"
)

var _ runner.Workspace = (*Capture)(nil)

// Capture is an immutable copy of the working tree. Until it is closed, or its
// process dies, its layers stay on disk. Its methods may be called from many
// goroutines.
type Capture struct {
	id      string
	root    *node
	trees   []string // the bottom first
	workers int
	once    sync.Once
	locks   []*os.File
}

// ID is a digest of all paths, types, mode bits and contents, in hex: equal for
// equal trees, whatever their times and the way they came to be.
func (c *Capture) ID() string { return c.id }

// Layers are absolute directories for overlayfs, topmost first; nil on other
// systems than Linux. They have whiteouts, but no extended attributes.
func (c *Capture) Layers() []string {
	if !hasOverlay {
		return nil
	}
	layers := slices.Clone(c.trees)
	slices.Reverse(layers)
	return layers
}

// CopyTo writes the whole tree into dir, an existing empty directory, which
// gets the mode and time of the tree's root. After an error dir may hold a part.
func (c *Capture) CopyTo(ctx context.Context, dir string) error {
	if err := newCopier(ctx).writeTree(ctx, c.workers, c.root, c.trees, dir); err != nil {
		return fmt.Errorf("copy the workspace to %s: %w", dir, err)
	}
	return nil
}

// Entries yields all entries but the root: a directory before what is in it,
// names in the order of their bytes.
func (c *Capture) Entries() iter.Seq[Entry] { return c.root.all() }

// Close lets the layers be removed once no newer capture needs them.
func (c *Capture) Close() (err error) {
	c.once.Do(func() { err = closeAll(c.locks) })
	return err
}
