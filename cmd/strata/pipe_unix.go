//go:build unix

package main

import (
	"errors"
	"syscall"
)

// closedPipe reports whether an error says that nobody reads the output.
func closedPipe(err error) bool { return errors.Is(err, syscall.EPIPE) }
