//go:build !windows

package image

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// leadsNowhere reports a path that passes through a file or a circle of links,
// or is too long.
func leadsNowhere(err error) bool {
	return errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENAMETOOLONG)
}

// racy is how far in the past a file's last change must be for its stamp to
// tell later ones: within a tick of the kernel's clock, or of a file system
// with coarse times (2 s for FAT), a second write may leave the same stat.
const racy = 3 * time.Second

// stampOf returns what of a file's stat changes with each write, whatever
// else is set back, and whether it can be relied on.
func stampOf(info fs.FileInfo, now time.Time) (stamp []byte, settled bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, false
	}
	changed := statusChange(st)
	for _, n := range []int64{int64(st.Dev), int64(st.Ino), st.Size, info.ModTime().UnixNano(), changed.UnixNano()} {
		stamp = binary.BigEndian.AppendUint64(stamp, uint64(n))
	}
	return stamp, now.Sub(changed) > racy
}

// statAt looks at the entry of a directory. Relative to the open directory that
// takes a third of the time, and /usr/bin has thousands of them.
func statAt(dir *os.File, name string, follow bool) (status, error) {
	flags := unix.AT_SYMLINK_NOFOLLOW
	if follow {
		flags = 0
	}
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), name, &st, flags); err != nil {
		return status{}, &os.PathError{Op: "stat", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	s := status{mode: fs.FileMode(st.Mode & 0o777)}
	s.seconds, s.nanos = st.Mtim.Unix()
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		s.size = st.Size
	case unix.S_IFDIR:
		s.mode |= fs.ModeDir
	case unix.S_IFLNK:
		s.mode |= fs.ModeSymlink
	default:
		s.mode |= fs.ModeIrregular
	}
	if st.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 {
		s.mode |= fs.ModeSetuid
	}
	return s, nil
}

func readlinkAt(dir *os.File, name string) (string, error) {
	buf := make([]byte, 4096) // PATH_MAX: no link is longer
	n, err := unix.Readlinkat(int(dir.Fd()), name, buf)
	if err != nil {
		return "", &os.PathError{Op: "readlink", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	return string(buf[:n]), nil
}
