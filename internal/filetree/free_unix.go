//go:build unix

package filetree

import (
	"os"

	"golang.org/x/sys/unix"
)

// Free returns how many bytes an ordinary user can still write to the file
// system of dir.
func Free(dir string) (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(fs.Bavail) * int64(fs.Bsize), nil
}
