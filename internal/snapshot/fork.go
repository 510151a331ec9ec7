//go:build linux

package snapshot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/strata-ci/strata/runner"
)

// Fork is the writable state of one running step: a view of its parent's
// layers below directories of its own. It ends with Commit or Discard.
type Fork struct {
	store    *Store
	dir      string
	parent   []string // layer directories, topmost first
	overlays []Overlay
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

// Fork starts a fork of parent, or of nothing for the empty name. The id names
// the fork among those that exist at the same time.
func (s *Store) Fork(id string, parent runner.SnapshotRef) (*Fork, error) {
	f := &Fork{store: s, dir: filepath.Join(s.dir, "active", id)}
	if parent != "" {
		var err error
		if f.parent, err = s.Layers(parent); err != nil {
			return nil, err
		}
	}
	if err := os.Mkdir(f.dir, 0o700); err != nil {
		return nil, runner.AsInfra("fork a snapshot", err)
	}
	return f, nil
}

// Lowers returns the lower directories of a mount at a path of a tree, topmost
// first: those of the parent's layers, then base (what the tree has there below
// all layers) unless a layer hides it. Changed reports whether any layer has a
// say there, so that the result differs from base.
func (f *Fork) Lowers(tree Tree, at string, base ...string) (lowers []string, changed bool, err error) {
	lowers, hidden, err := resolve(f.parent, tree, at)
	if err != nil {
		return nil, false, runner.AsInfra("fork a snapshot", err)
	}
	changed = hidden || len(lowers) > 0
	if !hidden {
		lowers = append(lowers, base...)
	}
	if len(lowers) == 0 {
		lowers = []string{f.store.emptyDir()} // overlayfs needs one
	}
	return lowers, changed, nil
}

// Overlay adds a mount over lowers at a path of a tree. Mounts are to be made
// in the order in which they were added.
func (f *Fork) Overlay(tree Tree, at string, lowers []string) (Overlay, error) {
	o, err := NewOverlay(f.nextDir(), tree, at, lowers)
	if err != nil {
		return Overlay{}, err
	}
	f.overlays = append(f.overlays, o)
	return o, nil
}

// Adopt makes an overlay that was made outside of the fork one of its own. It
// must not be mounted any more.
func (f *Fork) Adopt(o Overlay) error {
	own := overlayAt(f.nextDir(), o.Tree, o.At, o.Lowers)
	if err := errors.Join(os.Rename(o.Upper, own.Upper), os.Rename(o.Work, own.Work)); err != nil {
		return runner.AsInfra("fork a snapshot", err)
	}
	f.overlays = append(f.overlays, own)
	return nil
}

func (f *Fork) nextDir() string { return filepath.Join(f.dir, strconv.Itoa(len(f.overlays))) }

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

// resolve returns the directories at a path of the layers' trees, topmost
// first, and whether a layer hides what lies below all of them.
func resolve(layers []string, tree Tree, at string) (dirs []string, hidden bool, err error) {
	parts := strings.Split(at, "/")
	for _, layer := range layers {
		p := filepath.Join(layer, string(tree))
		state, err := look(p)
		for i := 0; err == nil && state.dir && at != "." && i < len(parts); i++ {
			hidden = hidden || state.opaque
			p = filepath.Join(p, parts[i])
			state, err = look(p)
		}
		if err != nil {
			return nil, false, err
		}
		if state.dir {
			dirs = append(dirs, p)
		}
		if hidden = hidden || state.opaque || state.covers; hidden {
			break
		}
	}
	return dirs, hidden, nil
}

// Commit makes the fork's changes the topmost layer of a new snapshot and ends
// the fork. Nothing may be mounted on it any more.
func (f *Fork) Commit(ref runner.SnapshotRef) error {
	if err := f.commit(ref); err != nil {
		return runner.AsInfra("commit snapshot "+string(ref), errors.Join(err, f.Discard()))
	}
	return f.Discard()
}

func (f *Fork) commit(ref runner.SnapshotRef) error {
	if !validRef(ref) {
		return fmt.Errorf("%q cannot name a snapshot", ref)
	}
	rec := record{Version: recordVersion}
	for _, dir := range f.parent {
		rec.Layers = append(rec.Layers, filepath.Base(dir))
	}
	layer := filepath.Join(f.dir, "layer")
	changed, err := f.assemble(layer)
	if err != nil {
		return err
	}
	if changed {
		if len(rec.Layers)+1 > MaxLayers {
			merged := filepath.Join(f.dir, "merged")
			if err := flatten(append([]string{layer}, f.parent...), merged); err != nil {
				return err
			}
			layer, rec.Layers = merged, nil
		}
		id := newLayerID()
		if err := os.Rename(layer, f.store.layerDir(id)); err != nil {
			return err
		}
		rec.Layers = append([]string{id}, rec.Layers...)
	}
	return f.store.write(ref, rec)
}

// assemble moves the upper directories of all mounts to their places in one
// layer and reports whether they hold any change.
func (f *Fork) assemble(layer string) (changed bool, err error) {
	for _, o := range f.overlays {
		empty, err := unchanged(o)
		if err != nil {
			return false, err
		}
		if empty {
			continue
		}
		if !changed {
			if err := os.Mkdir(layer, 0o700); err != nil {
				return false, err
			}
		}
		changed = true
		if err := f.graft(layer, o); err != nil {
			return false, err
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
		// The mount around this one may have been given its mount point.
		if err := os.Remove(dst); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return os.Rename(o.Upper, dst)
}

// mkdirLike makes a directory of the layer's tree with the attributes that the
// tree's root mount showed for it.
func (f *Fork) mkdirLike(layer string, tree Tree, at string) error {
	dir := filepath.Join(layer, string(tree), at)
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, o := range f.overlays {
		if o.Tree != tree || o.At != "." {
			continue
		}
		for _, lower := range o.Lowers {
			like := filepath.Join(lower, at)
			if info, err := os.Lstat(like); err == nil && info.IsDir() {
				return copyDirAttributes(like, dir)
			}
		}
	}
	return nil
}

// Discard removes the fork and all its changes. It may be called twice.
func (f *Fork) Discard() error {
	if err := RemoveTree(f.dir); err != nil {
		return runner.AsInfra("remove the step's files", err)
	}
	return nil
}

// unchanged reports whether an upper directory holds nothing, and has the
// attributes of the directory that it covers.
func unchanged(o Overlay) (bool, error) {
	d, err := os.Open(o.Upper)
	if err != nil {
		return false, err
	}
	defer d.Close()
	if names, err := d.Readdirnames(1); len(names) > 0 {
		return false, nil
	} else if err != nil && !isEOF(err) {
		return false, err
	}
	return sameDirAttributes(o.Lowers[0], o.Upper)
}
