package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"time"
)

// View is the working tree as a capture of the same moment would have it, but
// without any copy: only paths, modes and digests are known.
type View struct {
	id   string
	root *node
}

// ID is what the capture's would be.
func (v *View) ID() string { return v.id }

// Entries yields what the capture's would.
func (v *View) Entries() iter.Seq[Entry] { return v.root.all() }

// Select does what the capture's would.
func (v *View) Select(p *Patterns, visit func(Entry)) []Unmatched { return v.root.choose(p, visit) }

// Look looks at the tree as it is now and writes nothing at all, also not to
// the state directory, which need not exist. Files whose stat is as at the last
// capture are known from its index; all others are read.
func (s *Store) Look(ctx context.Context) (*View, Stats, error) {
	start := time.Now()
	var stats Stats
	last, err := s.load(&stats)
	if err != nil {
		return nil, stats, err
	}
	v, err := s.look(ctx, last, &stats)
	stats.Duration = time.Since(start)
	if err != nil {
		return nil, stats, fmt.Errorf("look at the workspace: %w", err)
	}
	return v, stats, nil
}

func (s *Store) look(ctx context.Context, last *index, stats *Stats) (*View, error) {
	tree, err := os.OpenRoot(s.root)
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	sc := &scanner{root: s.root, tree: tree, skip: s.skip, last: last, limit: s.limit, copier: newCopier(ctx)}
	root, err := sc.scan(ctx, s.workers)
	if err != nil {
		return nil, err
	}
	stats.Skipped, stats.SkippedNames = sc.special.total, sc.special.sorted()
	stats.Changed = settle(last.tree(), root)
	v := &View{root: root}
	if root.layer != pending {
		v.id = last.id
	} else {
		l := &looker{root: s.root, tree: tree, copier: sc.copier}
		if err := l.read(ctx, s.workers, root); err != nil {
			return nil, err
		}
		v.id = identity(root)
	}
	stats.Files = root.count() - 1
	return v, nil
}

// looker reads the files of the working tree that a capture would copy.
type looker struct {
	root       string   // the working tree
	tree       *os.Root // the same
	copier     *copier
	unreadable names
}

type lookItem struct {
	path string // slash-separated, empty for the root
	node *node
}

func (l *looker) read(ctx context.Context, workers int, root *node) error {
	err := spread(ctx, workers, lookItem{node: root}, l.directory)
	if err == nil && l.unreadable.total > 0 {
		err = &unreadableError{l.root, l.unreadable.sorted(), l.unreadable.total}
	}
	return err
}

func (l *looker) directory(it lookItem, push func(lookItem)) error {
	kids := it.node.kids[:0]
	for i := range it.node.kids {
		kid := &it.node.kids[i]
		there := true
		if kid.layer == pending && kid.stat.kind() == typeRegular {
			var err error
			if there, err = l.file(kid, joinPath(it.path, kid.name)); err != nil {
				return err
			}
		}
		if there {
			kids = append(kids, *kid)
		}
	}
	it.node.kids = kids
	for i := range kids {
		if kids[i].isDir() && kids[i].layer == pending {
			push(lookItem{joinPath(it.path, kids[i].name), &kids[i]})
		}
	}
	return nil
}

// file digests a file, again if it changes meanwhile; false if it went away.
func (l *looker) file(n *node, path string) (there bool, err error) {
	return atRest(l.root, n, path, func() (bool, error) { return l.try(n, path) })
}

// try digests a file once; false if it is not, or not all the time, as n says.
func (l *looker) try(n *node, path string) (done bool, err error) {
	f, err := l.tree.OpenFile(filepath.FromSlash(path), os.O_RDONLY|openFlags, 0)
	switch {
	case unreadable(err):
		l.unreadable.add(path)
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		st, statErr := lstat(filepath.Join(l.root, filepath.FromSlash(path)))
		if statErr == nil && st == n.stat {
			return false, err
		}
		return false, nil
	}
	defer f.Close()
	if st, err := fstat(f); err != nil || st != n.stat {
		return false, err
	}
	n.digest, err = l.copier.hash(nil, f, n.stat.size)
	if errors.Is(err, errSize) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	st, err := fstat(f)
	return err == nil && st == n.stat, err
}

// Empty returns the view of a workspace that has nothing in it.
func Empty() *View {
	root := &node{stat: stat{mode: typeDir | 0o755}}
	return &View{id: identity(root), root: root}
}
