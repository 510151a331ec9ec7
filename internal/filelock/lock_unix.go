//go:build unix

package filelock

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func lock(f *os.File, mode Mode, wait bool) (locked bool, err error) {
	how := unix.LOCK_SH
	if mode == Exclusive {
		how = unix.LOCK_EX
	}
	if !wait {
		how |= unix.LOCK_NB
	}
	for {
		err := unix.Flock(int(f.Fd()), how)
		switch {
		case err == nil:
			return true, nil
		case !wait && errors.Is(err, unix.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, unix.EINTR):
			return false, err
		}
	}
}

// Remove removes the file of an exclusive lock and ends the lock, in the order
// that leaves no file behind. Who waits for the lock then gets one on a file
// without a name, so the caller keeps others from waiting.
func Remove(f *os.File) error {
	err := os.Remove(f.Name())
	return errors.Join(err, f.Close())
}
