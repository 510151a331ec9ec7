//go:build linux

package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/internal/snapshot"
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
	gate, _, err := lock(filepath.Join(parent, "lock"), unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer gate.Close()
	if err := sweep(parent); err != nil {
		return nil, fmt.Errorf("remove what a killed run left in %s: %w", parent, err)
	}
	dir, err := os.MkdirTemp(parent, "run-")
	if err != nil {
		return nil, err
	}
	own, _, err := lock(filepath.Join(dir, "lock"), unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	return &live{dir: dir, lock: own}, nil
}

// close removes the directory.
func (l *live) close() error { return errors.Join(snapshot.RemoveTree(l.dir), l.lock.Close()) }

func sweep(parent string) error {
	dirs, err := filepath.Glob(filepath.Join(parent, "run-*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		dead, free, err := lock(filepath.Join(dir, "lock"), unix.LOCK_EX|unix.LOCK_NB)
		if err != nil {
			return err
		}
		if free {
			err = snapshot.RemoveTree(dir)
		}
		if err := errors.Join(err, dead.Close()); err != nil {
			return err
		}
	}
	return nil
}

// lock opens a file and locks it, if free says so: LOCK_NB does not wait.
func lock(path string, how int) (f *os.File, free bool, err error) {
	f, err = os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, false, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how) //nolint:gosec // a descriptor fits an int
		switch {
		case err == nil:
			return f, true, nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return f, false, nil
		default:
			return nil, false, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
	}
}
