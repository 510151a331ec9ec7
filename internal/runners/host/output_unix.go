//go:build !windows

package host

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// readNow reads what a pipe holds. An empty pipe is the end.
func readNow(f *os.File, buf []byte) (int, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	n, readErr := 0, error(nil)
	err = conn.Read(func(fd uintptr) bool {
		for {
			if n, readErr = unix.Read(int(fd), buf); !errors.Is(readErr, unix.EINTR) {
				return true
			}
		}
	})
	switch {
	case err != nil:
		return 0, err
	case errors.Is(readErr, unix.EAGAIN), readErr == nil && n == 0:
		return 0, io.EOF
	case readErr != nil:
		return 0, &os.PathError{Op: "read", Path: f.Name(), Err: readErr}
	}
	return n, nil
}
