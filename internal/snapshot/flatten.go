//go:build linux

package snapshot

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// flatten writes into the new directory dst one layer that shows the same as
// the given layers (topmost first) stacked, whatever lies below them. Files are
// hard links to those of the layers: layers never change.
func flatten(layers []string, dst string) error {
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
		if err := mergeLike(dirs, filepath.Join(dst, string(tree)), hidden); err != nil {
			return err
		}
	}
	return nil
}

// mergeLike merges, and gives dst the attributes of the topmost directory.
func mergeLike(dirs []string, dst string, opaque bool) error {
	if err := merge(dirs, dst, opaque); err != nil {
		return err
	}
	return copyDirAttributes(dirs[0], dst)
}

// merge writes the union of directories (topmost first) to the new directory
// dst, opaque if the union hides what lies below it.
func merge(dirs []string, dst string, opaque bool) (err error) {
	if err := os.Mkdir(dst, 0o700); err != nil {
		return err
	}
	for _, dir := range dirs {
		restore, unlockErr := unlock(dir)
		if unlockErr != nil {
			return unlockErr
		}
		defer func() { err = errors.Join(err, restore()) }()
	}
	seen := map[string]bool{}
	for i, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			name := e.Name()
			if seen[name] {
				continue
			}
			seen[name] = true
			if !e.IsDir() {
				if err := os.Link(filepath.Join(dir, name), filepath.Join(dst, name)); err != nil {
					return err
				}
				continue
			}
			same, hidden, err := stack(dirs[i:], name)
			if err != nil {
				return err
			}
			if err := mergeLike(same, filepath.Join(dst, name), hidden); err != nil {
				return err
			}
		}
	}
	if opaque {
		if err := unix.Lsetxattr(dst, opaqueXattr, []byte("y"), 0); err != nil {
			return &os.PathError{Op: "setxattr " + opaqueXattr, Path: dst, Err: err}
		}
	}
	return nil
}

// stack returns the directories called name in dirs, down to the first that
// hides what is below it, and whether there was such a one.
func stack(dirs []string, name string) (same []string, hidden bool, err error) {
	for _, dir := range dirs {
		p := filepath.Join(dir, name)
		e, err := look(p)
		if err != nil {
			return nil, false, err
		}
		if e.dir {
			same = append(same, p)
		}
		if e.opaque || e.covers {
			return same, true, nil
		}
	}
	return same, false, nil
}

// unlock makes a directory readable to its owner until restore is called: the
// superuser of a step's sandbox, whom modes do not bind, may have closed it.
func unlock(dir string) (restore func() error, err error) {
	info, err := os.Lstat(dir)
	if err != nil {
		return nil, err
	}
	const needed = 0o500
	if os.Geteuid() == 0 || info.Mode().Perm()&needed == needed {
		return func() error { return nil }, nil
	}
	if err := os.Chmod(dir, info.Mode()|0o700); err != nil {
		return nil, err
	}
	return func() error { return os.Chmod(dir, info.Mode()) }, nil
}
