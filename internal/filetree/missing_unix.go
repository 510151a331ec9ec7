//go:build !windows

package filetree

import (
	"errors"

	"golang.org/x/sys/unix"
)

func notDirectory(err error) bool { return errors.Is(err, unix.ENOTDIR) }
