package workspace

import (
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// hasOverlay says that layers can be stacked by overlayfs.
const hasOverlay = true

// makeWhiteout makes what hides a name of the layers below: a character device
// 0/0. Since Linux 5.8 it needs no privilege (kernel documentation,
// filesystems/overlayfs, "whiteouts and opaque directories").
func makeWhiteout(path string) error {
	if err := unix.Mknod(path, unix.S_IFCHR, 0); err != nil {
		return &fs.PathError{Op: "make a whiteout", Path: path, Err: err}
	}
	return nil
}

// clone makes dst, an empty file, share the blocks of src.
func clone(dst, src *os.File) error {
	return unix.IoctlFileClone(int(dst.Fd()), int(src.Fd()))
}

// bootID names this boot of the machine, empty if that is not known.
func bootID() string {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "" // then layers are synced to disk
	}
	return strings.TrimSpace(string(data))
}
