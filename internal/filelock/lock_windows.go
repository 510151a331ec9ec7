package filelock

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

func lock(f *os.File, mode Mode, wait bool) (locked bool, err error) {
	var flags uint32
	if mode == Exclusive {
		flags |= windows.LOCKFILE_EXCLUSIVE_LOCK
	}
	if !wait {
		flags |= windows.LOCKFILE_FAIL_IMMEDIATELY
	}
	err = windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, new(windows.Overlapped))
	if !wait && errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return false, nil
	}
	return err == nil, err
}

// Remove removes the file of an exclusive lock and ends the lock. Windows
// removes no open files, so it is closed first; the caller keeps others from
// taking the lock meanwhile.
func Remove(f *os.File) error {
	err := f.Close()
	return errors.Join(err, os.Remove(f.Name()))
}
