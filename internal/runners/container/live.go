//go:build linux

package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/internal/filelock"
	"github.com/strata-ci/strata/internal/filetree"
)

// Everything that a run makes lies in a directory of its process, which holds
// that directory's lock for as long as it lives. So what a killed process left
// can be told from what is in use, and is removed when the next one starts.

// live is the directory of this process.
type live struct {
	dir  string
	lock *os.File
}

// openLive makes a directory for this process below parent and removes those
// of processes that are gone.
func openLive(parent string) (*live, error) {
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, err
	}
	// Held while directories appear without their locks.
	gate, err := filelock.Open(filepath.Join(parent, "lock"), filelock.Exclusive)
	if err != nil {
		return nil, err
	}
	defer gate.Close()
	if err := sweep(parent); err != nil {
		return nil, fmt.Errorf("remove what a killed run left in %s: %w", parent, err)
	}
	spread(parent)
	dir, err := os.MkdirTemp(parent, "run-")
	if err != nil {
		return nil, err
	}
	own, err := filelock.Open(filepath.Join(dir, "lock"), filelock.Exclusive)
	if err != nil {
		return nil, err
	}
	return &live{dir: dir, lock: own}, nil
}

// topDir is FS_TOPDIR_FL of linux/fs.h, the flag T of chattr(1).
const topDir = 0x00020000

// spread tells ext4 that the directories in dir have nothing to do with each
// other, so that each starts in a part of the disk of its own. Without a
// journal, ext4 does not use an inode again for minutes after its file was
// deleted, and passes over all of these for each new file near them. It is a
// matter of speed alone, so a file system that does not know the flag is fine.
func spread(dir string) {
	f, err := os.Open(dir)
	if err != nil {
		return
	}
	defer f.Close()
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err == nil && flags&topDir == 0 {
		_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags|topDir)
	}
}

// close removes the directory.
func (l *live) close() error { return errors.Join(filetree.Remove(l.dir), l.lock.Close()) }

func sweep(parent string) error {
	dirs, err := filepath.Glob(filepath.Join(parent, "run-*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := sweepOne(dir); err != nil {
			return err
		}
	}
	return nil
}

func sweepOne(dir string) error {
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	dead, err := filelock.Try(lock, filelock.Exclusive)
	if dead {
		err = filetree.Remove(dir)
	}
	return errors.Join(err, lock.Close())
}
