package main

import (
	"errors"

	"golang.org/x/sys/windows"
)

// closedPipe reports whether an error says that nobody reads the output.
func closedPipe(err error) bool {
	return errors.Is(err, windows.ERROR_BROKEN_PIPE) || errors.Is(err, windows.ERROR_NO_DATA)
}
