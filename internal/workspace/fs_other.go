//go:build !linux && !darwin

package workspace

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

const (
	openFlags = 0
	// hasOverlay says that layers can be stacked by overlayfs.
	hasOverlay = false
)

func statFrom(fi fs.FileInfo) stat {
	mode := uint32(fi.Mode().Perm())
	switch {
	case fi.Mode().IsRegular():
		mode |= typeRegular
	case fi.IsDir():
		mode |= typeDir
	case fi.Mode()&fs.ModeSymlink != 0:
		mode |= typeLink
	}
	return stat{mode: mode, size: fi.Size(), mtime: instantOf(fi.ModTime())}
}

func lstat(path string) (stat, error) {
	fi, err := os.Lstat(path)
	if err != nil {
		return stat{}, err
	}
	return statFrom(fi), nil
}

func fstat(f *os.File) (stat, error) {
	fi, err := f.Stat()
	if err != nil {
		return stat{}, err
	}
	return statFrom(fi), nil
}

// openRegular opens a regular file to read.
func openRegular(path string) (*os.File, error) {
	fi, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}
	}
	return os.Open(path)
}

// setTimes sets the time of a file or a directory; a symlink keeps its own.
func setTimes(path string, t instant) error {
	if fi, err := os.Lstat(path); err != nil || fi.Mode()&fs.ModeSymlink != 0 {
		return err
	}
	return os.Chtimes(path, t.time(), t.time())
}

// directory is a directory of the working tree.
type directory struct{ path string }

func openDirectory(path string) (directory, error) { return directory{path}, nil }

func (d directory) close() error { return nil }

func (d directory) stat() (stat, error) { return lstat(d.path) }

// names returns the names in the directory, in no order.
func (d directory) names(*sync.Pool) ([]string, error) {
	f, err := os.Open(d.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

func (d directory) lstat(name string) (stat, error) { return lstat(filepath.Join(d.path, name)) }

// readable is only known once a file is opened.
func (directory) readable(string) error { return nil }

// makeWhiteout does nothing: without overlayfs only the manifest reads a layer.
func makeWhiteout(string) error { return nil }

func clone(_, _ *os.File) error { return errors.ErrUnsupported }

// bootID is not known, so that layers are synced to disk.
func bootID() string { return "" }
