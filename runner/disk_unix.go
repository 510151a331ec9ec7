//go:build !windows

package runner

import (
	"errors"
	"syscall"
)

// IsDiskFull reports whether err says that a file system or a quota is full.
func IsDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
