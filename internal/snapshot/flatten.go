//go:build linux

package snapshot

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/internal/filetree"
)

// flatten writes into the new directory dst one layer that shows the same as
// the given layers (topmost first) stacked, whatever lies below them. Files are
// hard links to those of the layers: layers never change.
func flatten(layers []*layer, dst string) error {
	if err := os.Mkdir(dst, 0o700); err != nil {
		return err
	}
	for _, tree := range []Tree{Root, Workspace} {
		dirs, hidden, err := resolve(layers, tree, ".")
		if err != nil {
			return err
		}
		if len(dirs) == 0 {
			continue
		}
		if err := merge(union{dirs: dirs, hides: hidden}, filepath.Join(dst, string(tree))); err != nil {
			return err
		}
	}
	return nil
}

// union is a stack of directories that show as one.
type union struct {
	dirs  []string // topmost first
	hides bool     // what lies below does not show through
	bare  bool     // nothing lies below, because a directory above hides it
}

// merge writes the union to the new directory dst, with the attributes of the
// topmost directory.
func merge(u union, dst string) error {
	if err := os.Mkdir(dst, 0o700); err != nil {
		return err
	}
	var whiteouts bool
	err := allUnlocked(u.dirs, func() (err error) {
		whiteouts, err = mergeEntries(u, dst)
		return err
	})
	if err != nil {
		return err
	}
	switch {
	case u.bare:
	case u.hides:
		err = setXattr(dst, opaqueXattr, "y")
	case whiteouts:
		err = setXattr(dst, originXattr, "")
	}
	if err != nil {
		return err
	}
	return copyDirAttributes(u.dirs[0], dst)
}

// mergeEntries fills dst and reports whether there are whiteouts in it. A
// directory that hides what is below must have none: they would show as files
// (fs/overlayfs/readdir.c, ovl_dir_is_real).
func mergeEntries(u union, dst string) (whiteouts bool, err error) {
	seen := map[string]bool{}
	for i, dir := range u.dirs {
		below := union{dirs: u.dirs[i:], bare: u.bare || u.hides}
		entries, err := os.ReadDir(dir)
		if err != nil {
			return false, err
		}
		for _, e := range entries {
			if seen[e.Name()] {
				continue
			}
			seen[e.Name()] = true
			whiteout, err := mergeEntry(below, e, dst)
			if err != nil {
				return false, err
			}
			whiteouts = whiteouts || whiteout
		}
	}
	return whiteouts, nil
}

// mergeEntry writes what shows under the name of an entry of the topmost
// directory, and reports whether it is a whiteout.
func mergeEntry(u union, e fs.DirEntry, dst string) (whiteout bool, err error) {
	src, dst := filepath.Join(u.dirs[0], e.Name()), filepath.Join(dst, e.Name())
	if e.IsDir() {
		below, err := stack(u.dirs, e.Name())
		if err != nil {
			return false, err
		}
		below.bare = u.bare
		return false, merge(below, dst)
	}
	info, err := e.Info()
	if err != nil {
		return false, err
	}
	whiteout = isWhiteout(info)
	if whiteout && u.bare {
		return true, nil
	}
	if os.Link(src, dst) == nil {
		return whiteout, nil
	}
	return whiteout, copyEntry(src, dst, info) // ext4 allows 65000 names
}

// copyEntry writes another file like src.
func copyEntry(src, dst string, info fs.FileInfo) error {
	return filetree.NewCopier(context.Background(), filepath.Dir(src), filepath.Dir(dst), nil).Entry(filepath.Base(src), info)
}

// stack returns the directories called name in dirs, down to the first that
// hides what is below it.
func stack(dirs []string, name string) (u union, err error) {
	for _, dir := range dirs {
		s, err := find(filepath.Join(dir, name), nil)
		if err != nil {
			return u, err
		}
		if s.dir != "" {
			u.dirs = append(u.dirs, s.dir)
		}
		if s.hidden {
			u.hides = true
			return u, nil
		}
	}
	return u, nil
}

func setXattr(path, name, value string) error {
	if err := unix.Lsetxattr(path, name, []byte(value), 0); err != nil {
		return &os.PathError{Op: "setxattr " + name, Path: path, Err: err}
	}
	return nil
}
