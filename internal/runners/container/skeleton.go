//go:build linux

package container

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/internal/fault"
	"github.com/strata-ci/strata/internal/filelock"
	"github.com/strata-ci/strata/internal/filetree"
)

// skeleton describes a small tree of files, by path. Every directory on the
// way to a node is a node.
type skeleton map[string]node

// node is a directory, a regular file, a symbolic link or a whiteout.
type node struct {
	mode   fs.FileMode
	data   string // contents of a file, target of a link
	opaque bool   // a directory that hides what lies below it
	time   time.Time
}

// whiteout is the mode of what removes a path: overlayfs.rst, "whiteouts".
const whiteout = fs.ModeDevice | fs.ModeCharDevice

// remove takes out a path and all below it.
func (s skeleton) remove(at string) {
	maps.DeleteFunc(s, func(path string, _ node) bool { return below(path, at) })
}

// digest names the skeleton. Times do not count: they change without a reason
// to write it again.
func (s skeleton) digest() string {
	h := sha256.New()
	for _, path := range slices.Sorted(maps.Keys(s)) {
		n := s[path]
		_, _ = fmt.Fprintf(h, "%q %v %t %q\n", path, n.mode, n.opaque, n.data)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// base is a skeleton on the disk. It stays there while it is open.
type base struct {
	path string
	// unstackable is why it cannot be a layer of an overlay, nil if it can.
	unstackable error
	lock        *os.File
}

func (b *base) close() error { return b.lock.Close() }

// open returns the skeleton in a directory below dir, where it is written unless
// it is there. Skeletons that nobody has open are removed when one is written.
func (s skeleton) open(dir string) (*base, error) {
	path := filepath.Join(dir, s.digest())
	// What cannot be a layer is written anew each time, to know the reason.
	if lock, err := holdDir(path); err == nil {
		return &base{path: path, lock: lock}, nil
	}
	lock, err := filelock.Open(filepath.Join(dir, lockFile), filelock.Exclusive)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := removeUnused(dir); err != nil {
		return nil, err
	}
	tmp := filepath.Join(dir, newName)
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return nil, err
	}
	unstackable, err := s.write(tmp)
	if err == nil {
		err = filetree.Sync(tmp) // what has its name is whole, also after a loss of power
	}
	if err == nil {
		err = fault.Point("container: name a skeleton")
	}
	if err == nil && unstackable != nil {
		path += "-unstackable"
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		err = errors.Join(err, filetree.Remove(tmp))
	}
	// Another process may have written it before.
	held, holdErr := holdDir(path)
	if holdErr != nil {
		return nil, errors.Join(err, holdErr)
	}
	return &base{path: path, unstackable: unstackable, lock: held}, nil
}

// What is in the directory of skeletons beside them.
const (
	lockFile = "lock" // held by whoever writes or removes one
	newName  = "new"  // one that is being written
)

// holdDir keeps a directory from being removed by removeUnused until the file is
// closed. It fails where the directory is not there or is being removed.
func holdDir(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	held, err := filelock.Try(f, filelock.Shared)
	if err == nil && held {
		var mine, there fs.FileInfo
		if mine, err = f.Stat(); err == nil {
			there, err = os.Stat(path)
		}
		held = err == nil && os.SameFile(mine, there)
	}
	if err == nil && !held {
		err = &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// removeUnused removes what is in the directory of skeletons and not open, also
// what a killed process was writing.
func removeUnused(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == lockFile {
			continue
		}
		path := filepath.Join(dir, e.Name())
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		free, err := filelock.Try(f, filelock.Exclusive)
		if err == nil && free {
			err = filetree.Remove(path)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// write makes the nodes in the existing directory root.
func (s skeleton) write(root string) (unstackable, err error) {
	paths := slices.Sorted(maps.Keys(s))
	for _, path := range paths {
		dst, n := filepath.Join(root, path), s[path]
		switch n.mode.Type() {
		case fs.ModeDir:
			err = os.Mkdir(dst, 0o700)
			if n.opaque && err == nil {
				unstackable = errors.Join(unstackable, unix.Lsetxattr(dst, "user.overlay.opaque", []byte("y"), 0))
			}
		case fs.ModeSymlink:
			err = os.Symlink(n.data, dst)
		case whiteout:
			unstackable = errors.Join(unstackable, unix.Mknod(dst, unix.S_IFCHR, 0))
		default:
			err = os.WriteFile(dst, []byte(n.data), 0o600)
		}
		if err != nil {
			return nil, err
		}
	}
	slices.Reverse(paths) // what is in a directory changes its time
	for _, path := range paths {
		n := s[path]
		if !n.mode.IsDir() && !n.mode.IsRegular() {
			continue
		}
		dst := filepath.Join(root, path)
		if err := errors.Join(os.Chmod(dst, n.mode), os.Chtimes(dst, time.Time{}, n.time)); err != nil {
			return nil, err
		}
	}
	return unstackable, os.Chmod(root, 0o755)
}
