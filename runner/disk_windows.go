package runner

import (
	"errors"
	"syscall"
)

// The codes are ERROR_HANDLE_DISK_FULL and ERROR_DISK_FULL of winerror.h.
const (
	errorHandleDiskFull syscall.Errno = 39
	errorDiskFull       syscall.Errno = 112
)

// IsDiskFull reports whether err says that a file system or a quota is full.
func IsDiskFull(err error) bool {
	return errors.Is(err, errorHandleDiskFull) || errors.Is(err, errorDiskFull)
}
