//go:build !windows

package host

import (
	"errors"

	"golang.org/x/sys/unix"
)

func notDirectory(err error) bool { return errors.Is(err, unix.ENOTDIR) }
