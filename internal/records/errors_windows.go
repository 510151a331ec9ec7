package records

import (
	"errors"

	"golang.org/x/sys/windows"
)

const errDiskFull = windows.ERROR_DISK_FULL

func isDiskFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}

func isNoLocks(err error) bool { return errors.Is(err, windows.ERROR_NOT_SUPPORTED) }

func isReadOnlyDisk(err error) bool { return errors.Is(err, windows.ERROR_WRITE_PROTECT) }
