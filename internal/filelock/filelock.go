// Package filelock locks files between processes.
//
// In: open files. Out: locks on them, each held until its file is closed or the
// processes that have it open are gone. A file that one process has opened
// twice counts as two holders. It never reads or writes a file's contents.
//
// On Unix the locks are flock(2)'s and belong to the open file, so that a child
// that inherits it goes on holding the lock after its parent's death. On Windows
// they are LockFileEx's.
package filelock

import (
	"context"
	"os"
	"time"
)

// Mode says who else may hold a lock at the same time.
type Mode int

// The modes of a lock.
const (
	Shared    Mode = iota // others that hold it as Shared
	Exclusive             // nobody
)

// Open opens a file, which is made if need be (readable and writable for the
// user alone), and waits for a lock on it. Closing the file unlocks it.
func Open(path string, mode Mode) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := Lock(f, mode); err != nil {
		_ = f.Close() // nothing was written
		return nil, err
	}
	return f, nil
}

// Lock waits for a lock on f. An error names the file.
func Lock(f *os.File, mode Mode) error {
	_, err := lock(f, mode, true)
	return wrap(f, err)
}

// interval is how often LockContext asks for a lock again. The system's own
// waiting call cannot be cancelled; this is far below what a person notices.
const interval = 5 * time.Millisecond

// LockContext is Lock, but ends with ctx's error when ctx ends first.
func LockContext(ctx context.Context, f *os.File, mode Mode) error {
	if locked, err := Try(f, mode); locked || err != nil {
		return err
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if locked, err := Try(f, mode); locked || err != nil {
			return err
		}
	}
}

// Try locks f if that is possible at once, and reports whether it was. An error
// names the file.
func Try(f *os.File, mode Mode) (locked bool, err error) {
	locked, err = lock(f, mode, false)
	return locked, wrap(f, err)
}

func wrap(f *os.File, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: "lock", Path: f.Name(), Err: err}
}
