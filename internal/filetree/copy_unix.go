//go:build !windows

package filetree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// fileID names a file among all of the machine.
type fileID struct{ dev, ino uint64 }

// linkedFile returns the file's ID if it is no directory and has other names.
func linkedFile(info fs.FileInfo) (fileID, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || info.IsDir() || st.Nlink < 2 {
		return fileID{}, false
	}
	return fileID{uint64(st.Dev), st.Ino}, true
}

// copyOwner gives dst the owner of info. Only root can give files away; for
// anybody else all files in a snapshot are their own.
func copyOwner(dst string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 {
		return nil
	}
	return os.Lchown(dst, int(st.Uid), int(st.Gid))
}

func copyTimes(dst string, info fs.FileInfo) error {
	t, err := unix.TimeToTimespec(info.ModTime())
	if err != nil {
		return &os.PathError{Op: "copy the time of", Path: dst, Err: err}
	}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, dst, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "set the time of", Path: dst, Err: err}
	}
	return nil
}

// copySpecial makes a FIFO or a device like info's.
func copySpecial(dst string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("copy %s: unknown kind of file %v", dst, info.Mode())
	}
	if err := unix.Mknod(dst, uint32(st.Mode), int(st.Rdev)); err != nil {
		return &os.PathError{Op: "mknod", Path: dst, Err: err}
	}
	return nil
}

// SyncDir writes a directory's own entries to the disk. Where the file system
// syncs no directories (fsync(2), EINVAL), it does nothing.
func SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		err = nil
	}
	return errors.Join(err, f.Close())
}
