//go:build linux

package snapshot

import (
	"errors"
	"io/fs"
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
		if err := merge(dirs, filepath.Join(dst, string(tree)), hidden); err != nil {
			return err
		}
	}
	return nil
}

// merge writes the union of directories (topmost first) to the new directory
// dst, opaque if the union hides what lies below it.
func merge(dirs []string, dst string, opaque bool) error {
	if err := os.Mkdir(dst, 0o700); err != nil {
		return err
	}
	seen := map[string]bool{}
	for i, dir := range dirs {
		entries, err := readDir(dir)
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
			if err := merge(same, filepath.Join(dst, name), hidden); err != nil {
				return err
			}
		}
	}
	if opaque {
		if err := unix.Lsetxattr(dst, opaqueXattr, []byte("y"), 0); err != nil {
			return &os.PathError{Op: "setxattr " + opaqueXattr, Path: dst, Err: err}
		}
	}
	return copyDirAttributes(dirs[0], dst)
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

// readDir reads a directory, also one whose mode keeps its owner out: the
// superuser of a step's sandbox is not bound by modes.
func readDir(dir string) (entries []fs.DirEntry, err error) {
	entries, err = os.ReadDir(dir)
	if !errors.Is(err, fs.ErrPermission) {
		return entries, err
	}
	info, statErr := os.Lstat(dir)
	if statErr != nil {
		return nil, errors.Join(err, statErr)
	}
	if chmodErr := os.Chmod(dir, 0o700); chmodErr != nil {
		return nil, errors.Join(err, chmodErr)
	}
	defer func() { err = errors.Join(err, os.Chmod(dir, info.Mode())) }()
	return os.ReadDir(dir)
}
