//go:build linux

package snapshot

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/strata-ci/strata/runner"
)

const (
	// MaxLayers is the longest chain of a snapshot. A commit that would exceed it
	// flattens the chain into one layer. Overlayfs itself allows 500 lower
	// directories (OVL_MAX_STACK), but takes their names in one page of memory.
	MaxLayers = 64
	// maxNames is how much of that page, in bytes, layers may use. The rest of
	// 4096 is for the other options, the image and the capture.
	maxNames = 2048
)

// Fork is the writable state of one running step: a view of its parent's
// layers below directories of its own. It ends with Commit or Discard.
type Fork struct {
	branch
	overlays []Overlay
	roots    map[Tree][]string // the lower directories of each tree's root
}

// Overlay is one overlayfs mount of a fork.
type Overlay struct {
	Tree Tree
	// At is where in the tree it is mounted: a clean, slash-separated path
	// relative to the tree's root, "." for the root itself.
	At string
	// Lowers are the lower directories, topmost first. Never empty.
	Lowers []string
	// Upper receives the step's changes; Work is for overlayfs itself.
	Upper, Work string
}

// Fork starts a fork of parent, or of nothing for the empty name. An unknown
// parent is an *runner.InfraError of KindSnapshot.
func (s *Store) Fork(parent runner.SnapshotRef) (*Fork, error) {
	b, err := s.branch(parent)
	if err != nil {
		return nil, err
	}
	return &Fork{branch: b, roots: map[Tree][]string{}}, nil
}

// Lowers returns the lower directories of a mount at a path of a tree, topmost
// first: those of the parent's layers, then base (what the tree has there below
// all layers) unless a layer hides it.
func (f *Fork) Lowers(tree Tree, at string, base ...string) ([]string, error) {
	lowers, hidden, err := resolve(f.chain, tree, at)
	if err != nil {
		return nil, runner.AsInfra("fork a snapshot", err)
	}
	if !hidden {
		lowers = append(lowers, base...)
	}
	if len(lowers) == 0 {
		lowers = []string{f.store.emptyDir()} // overlayfs needs one
	}
	if at == "." {
		f.roots[tree] = lowers
	}
	return lowers, nil
}

// emptyDir returns a directory that stays empty.
func (s *Store) emptyDir() string { return filepath.Join(s.live.dir, "empty") }

// Overlay adds a mount over lowers at a path of a tree. Mounts are to be made
// in the order in which they were added, the tree's root first.
func (f *Fork) Overlay(tree Tree, at string, lowers []string) (Overlay, error) {
	prefix, err := f.nextPrefix()
	if err != nil {
		return Overlay{}, err
	}
	o, err := NewOverlay(prefix, tree, at, lowers)
	if err != nil {
		return Overlay{}, err
	}
	f.overlays = append(f.overlays, o)
	return o, nil
}

// Adopt makes an overlay that was made outside of the fork one of its own. It
// must not be mounted any more.
func (f *Fork) Adopt(o Overlay) error {
	prefix, err := f.nextPrefix()
	if err != nil {
		return err
	}
	own := overlayAt(prefix, o.Tree, o.At, o.Lowers)
	if err := errors.Join(move(o.Upper, own.Upper), move(o.Work, own.Work)); err != nil {
		return runner.AsInfra("fork a snapshot", err)
	}
	f.overlays = append(f.overlays, own)
	return nil
}

// nextPrefix returns what the next overlay's directories are to be called. The
// fork's own directory appears with its first overlay: many a fork needs none.
func (f *Fork) nextPrefix() (string, error) {
	if len(f.overlays) == 0 {
		if err := f.mkdir(); err != nil {
			return "", err
		}
	}
	return filepath.Join(f.dir, strconv.Itoa(len(f.overlays))), nil
}

// NewOverlay makes the directories of an overlay over lowers; their names
// start with prefix.
func NewOverlay(prefix string, tree Tree, at string, lowers []string) (Overlay, error) {
	o := overlayAt(prefix, tree, at, lowers)
	for _, d := range []string{o.Upper, o.Work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return Overlay{}, runner.AsInfra("fork a snapshot", err)
		}
	}
	// The upper directory is the mount's own root: it looks like what it covers.
	if err := copyDirAttributes(o.Lowers[0], o.Upper); err != nil {
		return Overlay{}, runner.AsInfra("fork a snapshot", err)
	}
	return o, nil
}

func overlayAt(prefix string, tree Tree, at string, lowers []string) Overlay {
	return Overlay{Tree: tree, At: at, Lowers: lowers, Upper: prefix + "-upper", Work: prefix + "-work"}
}

// Commit makes the fork's changes the topmost layer of a new snapshot, in place
// of one of that name, and ends the fork, also if it fails: then there is no
// new snapshot. Nothing may be mounted on the fork any more.
func (f *Fork) Commit(ref runner.SnapshotRef) error { return f.commit(ref, f.layers) }

// layers returns the parent's layers with the changes on top.
func (f *Fork) layers() ([]*layer, error) {
	dir := filepath.Join(f.dir, "layer")
	changed, err := f.assemble(dir)
	if err != nil || len(changed) == 0 {
		return append([]*layer{}, f.chain...), err
	}
	chain := f.chain
	if f.tooLong(changed) {
		merged := filepath.Join(f.dir, "merged")
		top := &layer{dir: dir, known: map[string]sight{}}
		if err := flatten(append([]*layer{top}, chain...), merged); err != nil {
			return nil, err
		}
		dir, chain = merged, nil
	}
	top, err := f.store.newLayer(dir)
	return append([]*layer{top}, chain...), err
}

// tooLong reports whether a mount of the next fork would have too many layers,
// or too much of their names.
func (f *Fork) tooLong(changed []Overlay) bool {
	names := 0
	for _, o := range changed {
		one := len(filepath.Join("layers/1234567.1234567", string(o.Tree), o.At)) + len(":")
		for _, lower := range o.Lowers {
			if rel, ok := strings.CutPrefix(lower, f.store.layersDir()); ok {
				one += len("layers") + len(rel) + len(":")
			}
		}
		names = max(names, one)
	}
	return len(f.chain)+1 > f.store.maxLayers || names > maxNames
}

// assemble moves the upper directories of all mounts that have been changed to
// their places in one layer. The layer is not made if there are none.
func (f *Fork) assemble(layer string) (changed []Overlay, err error) {
	for _, o := range f.overlays {
		same, err := unchanged(o)
		if err != nil {
			return nil, err
		}
		if same {
			continue
		}
		if len(changed) == 0 {
			if err := os.Mkdir(layer, 0o700); err != nil {
				return nil, err
			}
		}
		changed = append(changed, o)
		if err := f.graft(layer, o); err != nil {
			return nil, err
		}
	}
	return changed, nil
}

// graft moves one upper directory to its place in the layer, below copies of
// the directories above it where the layer has none yet.
func (f *Fork) graft(layer string, o Overlay) error {
	dst := filepath.Join(layer, string(o.Tree), o.At)
	if o.At != "." {
		parts := strings.Split(o.At, "/")
		for i := range parts {
			if err := f.mkdirLike(layer, o.Tree, filepath.Join(parts[:i]...)); err != nil {
				return err
			}
		}
	}
	return keepTimes(filepath.Dir(dst), func() error {
		// The mount around this one may have been given its mount point.
		if err := os.Remove(dst); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return move(o.Upper, dst)
	})
}

// mkdirLike makes a directory of the layer's tree, unless it is there, with the
// attributes that the tree's root mount showed for it.
func (f *Fork) mkdirLike(layer string, tree Tree, at string) error {
	dir := filepath.Join(layer, string(tree), at)
	if e, err := look(dir); err != nil || e.dir {
		return err
	}
	err := keepTimes(filepath.Dir(dir), func() error { return os.Mkdir(dir, 0o755) })
	if err != nil {
		return err
	}
	for _, lower := range f.roots[tree] {
		like := filepath.Join(lower, at)
		if info, err := os.Lstat(like); err == nil && info.IsDir() {
			return copyDirAttributes(like, dir)
		}
	}
	return nil
}

// unchanged reports whether an upper directory holds nothing, and has the
// attributes of the directory that it covers.
func unchanged(o Overlay) (bool, error) {
	empty, err := isEmpty(o.Upper)
	if err != nil || !empty {
		return false, err
	}
	return sameDirAttributes(o.Lowers[0], o.Upper)
}

func isEmpty(dir string) (empty bool, err error) {
	err = unlocked(dir, readable, func() error {
		d, err := os.Open(dir)
		if err != nil {
			return err
		}
		defer d.Close()
		_, err = d.Readdirnames(1)
		empty = errors.Is(err, io.EOF)
		if empty {
			return nil
		}
		return err
	})
	return empty, err
}
