package workspace

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
)

// attempts is how often a file that changes under the copy is copied again.
const attempts = 5

// builder makes one layer: a directory that overlayfs can stack on the lowest
// keep of the layers that exist. It holds every entry that those do not have
// as it is now, with all its parent directories, and a whiteout for each name
// that they have and the tree has not.
type builder struct {
	root   string   // the working tree
	tree   *os.Root // the same
	out    string   // the new layer, an existing empty directory
	from   []string // the existing layers, the bottom first
	keep   int
	sync   bool // write every file through to the disk
	copier *copier

	bytes      atomic.Int64
	unreadable names
}

type buildItem struct {
	path  string // slash-separated, empty for the root
	now   *node
	old   *node // what the last capture has at this path; nil if no directory
	below bool  // the bottom layer has a directory at this path
}

// includes reports whether the new layer holds n.
func (b *builder) includes(n *node) bool { return n.layer == pending || int(n.layer) >= b.keep }

// build fills the layer from the settled tree now and sets the layer of each
// node that it holds. Files that went away meanwhile are dropped from the tree.
func (b *builder) build(ctx context.Context, workers int, old, now *node) error {
	first := buildItem{now: now, old: old, below: b.keep > 0}
	err := spread(ctx, workers, first, func(it buildItem, push func(buildItem)) error {
		return b.visit(ctx, it, push)
	})
	if err != nil || b.unreadable.total > 0 {
		return err
	}
	if err := finishDirs(now, b.out, b.includes); err != nil {
		return err
	}
	b.adopt(now)
	return nil
}

func (b *builder) adopt(n *node) {
	if !b.includes(n) {
		return
	}
	n.layer = int32(b.keep)
	for i := range n.kids {
		b.adopt(&n.kids[i])
	}
}

func (b *builder) visit(ctx context.Context, it buildItem, push func(buildItem)) error {
	if it.path != "" {
		if err := os.Mkdir(b.outPath(it.path), 0o700); err != nil {
			return err
		}
	}
	kids := it.now.kids[:0]
	for i := range it.now.kids {
		kid := &it.now.kids[i]
		there := true
		if b.includes(kid) && !kid.isDir() {
			var err error
			if there, err = b.place(kid, joinPath(it.path, kid.name)); err != nil {
				return err
			}
		}
		if there {
			kids = append(kids, *kid)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	it.now.kids = kids
	if err := b.hide(it); err != nil {
		return err
	}
	for i := range kids {
		kid := &kids[i]
		if !kid.isDir() || !b.includes(kid) {
			continue
		}
		path := joinPath(it.path, kid.name)
		next := buildItem{path: path, now: kid, below: it.below && isDirectory(b.belowPath(path))}
		if old := it.old.kid(kid.name); old.isDir() {
			next.old = old
		}
		push(next)
	}
	return nil
}

func (b *builder) outPath(path string) string { return filepath.Join(b.out, filepath.FromSlash(path)) }

func (b *builder) belowPath(path string) string {
	return filepath.Join(b.from[0], filepath.FromSlash(path))
}

func isDirectory(path string) bool {
	fi, err := os.Lstat(path)
	return err == nil && fi.IsDir()
}

// hide makes the whiteouts of a directory.
func (b *builder) hide(it buildItem) error {
	hidden, err := b.lowerNames(it)
	if err != nil {
		return err
	}
	for _, name := range hidden {
		if it.now.kid(name) != nil {
			continue
		}
		if err := makeWhiteout(b.outPath(joinPath(it.path, name))); err != nil {
			return err
		}
	}
	return nil
}

// lowerNames returns the names that the layers below the new one show in a
// directory.
func (b *builder) lowerNames(it buildItem) (list []string, err error) {
	switch {
	case b.keep == len(b.from) && it.old != nil: // they show the last capture
		return it.old.names(), nil
	case b.keep == 1 && it.below:
		entries, err := os.ReadDir(b.belowPath(it.path))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			list = append(list, e.Name())
		}
	}
	return list, nil
}

// place puts a file or a symlink into the layer; false if it went away.
func (b *builder) place(n *node, path string) (there bool, err error) {
	dst := b.outPath(path)
	switch {
	case n.stat.kind() == typeLink:
		return true, createLink(n.target, dst, &n.stat)
	case n.layer == pending:
		return b.capture(n, path, dst)
	}
	// Files of layers never change, so that layers can share them.
	src := filepath.Join(b.from[n.layer], filepath.FromSlash(path))
	if err := os.Link(src, dst); err == nil {
		return true, nil
	}
	return true, b.copier.copyFile(src, dst, &n.stat, b.sync)
}

// capture copies a file of the working tree, again if it changes meanwhile.
func (b *builder) capture(n *node, path, dst string) (there bool, err error) {
	return atRest(b.root, n, path, func() (bool, error) { return b.try(n, path, dst) })
}

// atRest calls read, which reads a file of the working tree, until it says that
// the file was all the time as n says, after n has been brought up to date; false
// if the file went away.
func atRest(root string, n *node, path string, read func() (done bool, err error)) (there bool, err error) {
	for range attempts {
		done, err := read()
		if done || err != nil {
			return true, err
		}
		st, err := lstat(filepath.Join(root, filepath.FromSlash(path)))
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if st.kind() != typeRegular {
			break
		}
		n.stat = st
	}
	return false, &changedError{path}
}

// try copies a file once; false if it is not, or not all the time, as n says.
func (b *builder) try(n *node, path, dst string) (copied bool, err error) {
	src, err := b.tree.OpenFile(filepath.FromSlash(path), os.O_RDONLY|openFlags, 0)
	switch {
	case unreadable(err):
		b.unreadable.add(path)
		return true, nil
	case err != nil && b.same(n, path):
		return false, err
	case err != nil:
		return false, nil
	}
	defer src.Close()
	if st, err := fstat(src); err != nil || st != n.stat {
		return false, err
	}
	err = createFile(dst, &n.stat, b.sync, func(out *os.File) error {
		n.digest, err = b.copier.copyAndHash(out, src, n.stat.size)
		return err
	})
	if errors.Is(err, errSize) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if st, err := fstat(src); err != nil || st != n.stat {
		return false, errors.Join(err, os.Remove(dst))
	}
	b.bytes.Add(n.stat.size)
	return true, nil
}

// same reports whether the file is still what n says.
func (b *builder) same(n *node, path string) bool {
	st, err := lstat(filepath.Join(b.root, filepath.FromSlash(path)))
	return err == nil && st == n.stat
}
