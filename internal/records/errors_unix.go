//go:build unix

package records

import (
	"errors"
	"syscall"
)

const errDiskFull = syscall.ENOSPC

func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

func isNoLocks(err error) bool {
	for _, errno := range []error{syscall.ENOLCK, syscall.EOPNOTSUPP, syscall.ENOTSUP, syscall.ENOSYS} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

func isReadOnlyDisk(err error) bool { return errors.Is(err, syscall.EROFS) }
