//go:build linux

package snapshot

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// opaqueXattr marks a directory of a layer that hides the one below it. The
// name is that of mounts with the option userxattr, which ordinary users can set.
const opaqueXattr = "user.overlay.opaque"

// entry says what a layer has at a path.
type entry struct {
	dir    bool // a directory
	opaque bool // a directory that hides the one below it
	covers bool // anything else: a file that covers, or a whiteout that removes, what is below
}

func look(path string) (entry, error) {
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	switch {
	case errors.Is(err, unix.ENOENT):
		return entry{}, nil
	case err != nil:
		return entry{}, &os.PathError{Op: "lstat", Path: path, Err: err}
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return entry{covers: true}, nil
	}
	opaque, err := isOpaque(path)
	return entry{dir: true, opaque: opaque}, err
}

func isOpaque(dir string) (bool, error) {
	var value [1]byte
	n, err := unix.Lgetxattr(dir, opaqueXattr, value[:])
	switch {
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.EOPNOTSUPP):
		return false, nil
	case errors.Is(err, unix.ERANGE):
		return false, nil // longer than "y": not the mark
	case err != nil:
		return false, &os.PathError{Op: "getxattr", Path: dir, Err: err}
	}
	return n == 1 && value[0] == 'y', nil
}

// copyDirAttributes gives the directory dst the mode, the times, the extended
// attributes and, where the process may do that, the owner of the directory
// src. Overlayfs's own marks are not copied.
func copyDirAttributes(src, dst string) error {
	var st unix.Stat_t
	if err := unix.Lstat(src, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: src, Err: err}
	}
	if os.Geteuid() == 0 {
		if err := os.Lchown(dst, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	if err := copyXattrs(src, dst); err != nil {
		return err
	}
	if err := unix.Chmod(dst, st.Mode&0o7777); err != nil {
		return &os.PathError{Op: "chmod", Path: dst, Err: err}
	}
	return os.Chtimes(dst, time.Unix(st.Atim.Unix()), time.Unix(st.Mtim.Unix()))
}

func copyXattrs(src, dst string) error {
	names, err := listXattrs(src)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "user.overlay.") {
			continue // others are the machine's (labels), and not for a layer
		}
		value, err := getXattr(src, name)
		if err != nil {
			return err
		}
		if err := unix.Lsetxattr(dst, name, value, 0); err != nil {
			return &os.PathError{Op: "setxattr " + name, Path: dst, Err: err}
		}
	}
	return nil
}

func listXattrs(path string) ([]string, error) {
	buf := make([]byte, 1024)
	for {
		n, err := unix.Llistxattr(path, buf)
		switch {
		case errors.Is(err, unix.ERANGE):
			buf = make([]byte, 2*len(buf))
			continue
		case errors.Is(err, unix.EOPNOTSUPP), err == nil && n == 0:
			return nil, nil
		case err != nil:
			return nil, &os.PathError{Op: "listxattr", Path: path, Err: err}
		}
		return strings.Split(string(bytes.TrimSuffix(buf[:n], []byte{0})), "\x00"), nil
	}
}

func getXattr(path, name string) ([]byte, error) {
	buf := make([]byte, 256)
	for {
		n, err := unix.Lgetxattr(path, name, buf)
		if errors.Is(err, unix.ERANGE) {
			buf = make([]byte, 2*len(buf))
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "getxattr " + name, Path: path, Err: err}
		}
		return buf[:n], nil
	}
}

// sameDirAttributes reports whether two directories have the same mode and,
// where the process may change that, the same owner.
func sameDirAttributes(a, b string) (bool, error) {
	var sa, sb unix.Stat_t
	if err := unix.Lstat(a, &sa); err != nil {
		return false, &os.PathError{Op: "lstat", Path: a, Err: err}
	}
	if err := unix.Lstat(b, &sb); err != nil {
		return false, &os.PathError{Op: "lstat", Path: b, Err: err}
	}
	same := sa.Mode == sb.Mode
	if os.Geteuid() == 0 {
		same = same && sa.Uid == sb.Uid && sa.Gid == sb.Gid
	}
	return same, nil
}
