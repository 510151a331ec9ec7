// Package filetree copies, sums up and removes whole directory trees, whatever steps
// have put there.
//
// In: directories that nobody changes meanwhile. Out: equal directories, digests, or
// none. It knows what file systems can hold, not what the files are for, and it
// never follows a symbolic link that lies in a tree.
package filetree

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/strata-ci/strata/internal/fault"
)

// Remove removes path and all below it, also below directories whose modes
// forbid that to their owner. A path that does not exist is no error.
func Remove(path string) error {
	if err := fault.Point("filetree: remove"); err != nil {
		return err
	}
	err := os.RemoveAll(path)
	if err == nil {
		return nil
	}
	// A directory's children can only be reached after its mode is mended, which
	// WalkDir's function may do before WalkDir reads it.
	walkErr := filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			return os.Chmod(p, 0o700)
		}
		return nil // what cannot be read shows when it is removed
	})
	if err := os.RemoveAll(path); err != nil {
		return errors.Join(err, walkErr)
	}
	return nil
}

// Modes are modes of entries by their paths in a tree.
type Modes map[string]fs.FileMode

// Below returns the modes in a directory of the tree, by their paths in there.
func (m Modes) Below(dir string) Modes {
	below := Modes{}
	for path, mode := range m {
		if path == dir {
			below["."] = mode
		} else if rel, ok := strings.CutPrefix(path, dir+string(filepath.Separator)); ok {
			below[rel] = mode
		}
	}
	return below
}

// OpenUp makes everything below dir accessible to its owner, so that an
// ordinary user can copy and remove it, and returns the modes that it changed.
func OpenUp(dir string) (Modes, error) {
	modes := Modes{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Type() == fs.ModeSymlink {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		need := fs.FileMode(0o400)
		if e.IsDir() {
			need = 0o700
		}
		if info.Mode()&need == need {
			return nil
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		modes[rel] = info.Mode()
		return os.Chmod(path, info.Mode()|need)
	})
	return modes, err
}

// Missing reports that a path leads nowhere, also because a part of it is no
// directory.
func Missing(err error) bool { return errors.Is(err, fs.ErrNotExist) || notDirectory(err) }

// SyncFile brings the contents of a file to the disk.
func SyncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0) // Windows syncs only what it may write
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Blocks returns the disk space that a file, or a directory with all below it,
// occupies, in bytes: a file with several names once for each. What is removed
// meanwhile counts as nothing.
func Blocks(ctx context.Context, path string) (int64, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	total := blocks(info)
	if !info.IsDir() {
		return total, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return 0, err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		size, err := Blocks(ctx, filepath.Join(path, e.Name()))
		if err != nil {
			return 0, err
		}
		total += size
	}
	return total, nil
}
