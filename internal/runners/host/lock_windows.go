package host

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

func lockShared(f *os.File) error    { return lockFile(f, 0) }
func lockExclusive(f *os.File) error { return lockFile(f, windows.LOCKFILE_EXCLUSIVE_LOCK) }

// tryLock takes the exclusive lock if it is free.
func tryLock(f *os.File) (bool, error) {
	err := lockFile(f, windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return false, nil
	}
	return err == nil, err
}

func lockFile(f *os.File, flags uint32) error {
	if err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, new(windows.Overlapped)); err != nil {
		return &os.PathError{Op: "lock", Path: f.Name(), Err: err}
	}
	return nil
}

// removeLock closes the file first: Windows removes no open files.
func removeLock(f *os.File) error {
	err := f.Close()
	return errors.Join(err, os.Remove(f.Name()))
}
