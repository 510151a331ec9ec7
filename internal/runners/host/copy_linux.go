package host

import (
	"os"

	"golang.org/x/sys/unix"
)

// reflink makes dst share src's blocks and reports whether it could.
func reflink(dst, src *os.File) bool {
	return unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) == nil
}

// syncTree writes dir with all that is in it to the disk. One call for the file
// system is faster than one for each of many files.
func syncTree(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return &os.PathError{Op: "sync", Path: dir, Err: err}
	}
	return nil
}
