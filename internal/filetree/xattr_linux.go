package filetree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// CopyXattrs gives dst the extended attributes of src that belong to the files
// rather than to the machine: those of users, and access control lists. Neither
// is a symlink. Attributes that dst's file system cannot have are left out.
func CopyXattrs(src, dst string) error {
	names, err := Xattrs(src)
	if err != nil {
		return err
	}
	for _, name := range names {
		value, err := getXattr(src, name)
		if err != nil {
			return err
		}
		err = unix.Lsetxattr(dst, name, value, 0)
		if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			return &os.PathError{Op: "setxattr " + name, Path: dst, Err: err}
		}
	}
	return nil
}

// SameXattrs reports whether a and b have the same of what CopyXattrs copies.
func SameXattrs(a, b string) (bool, error) {
	namesA, err := Xattrs(a)
	if err != nil {
		return false, err
	}
	namesB, err := Xattrs(b)
	if err != nil || !slices.Equal(namesA, namesB) {
		return false, err
	}
	for _, name := range namesA {
		valueA, err := getXattr(a, name)
		if err != nil {
			return false, err
		}
		valueB, err := getXattr(b, name)
		if err != nil || !bytes.Equal(valueA, valueB) {
			return false, err
		}
	}
	return true, nil
}

// addXattrs adds the attributes that CopyXattrs copies to a digest, and the mark
// of a directory that hides what lies below it in an overlay.
func addXattrs(h hash.Hash, path string) error {
	names, err := xattrs(path, func(name string) bool { return portable(name) || name == "user.overlay.opaque" })
	if err != nil {
		return err
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(len(names)))
	for _, name := range names {
		value, err := getXattr(path, name)
		if err != nil {
			return err
		}
		b = appendString(appendString(b, name), string(value))
	}
	h.Write(b)
	return nil
}

// Xattrs returns the names of the attributes that CopyXattrs copies, in order.
func Xattrs(path string) ([]string, error) { return xattrs(path, portable) }

// xattrs returns the names of the attributes that are wanted, in order.
func xattrs(path string, wanted func(string) bool) ([]string, error) {
	buf := make([]byte, 256)
	for {
		n, err := unix.Llistxattr(path, buf)
		switch {
		case errors.Is(err, unix.ERANGE):
			buf = make([]byte, 4*len(buf))
			continue
		case errors.Is(err, unix.EOPNOTSUPP), err == nil && n == 0:
			return nil, nil
		case err != nil:
			return nil, &os.PathError{Op: "listxattr", Path: path, Err: err}
		}
		names := strings.Split(string(bytes.TrimSuffix(buf[:n], []byte{0})), "\x00")
		names = slices.DeleteFunc(names, func(name string) bool { return !wanted(name) })
		slices.Sort(names)
		return names, nil
	}
}

// portable tells attributes of the files from the machine's (security labels)
// and from overlayfs's own. Those of an overlayfs inside of an overlay mount
// are a step's again: they have the prefix twice on disk (Documentation/
// filesystems/overlayfs.rst, "Nesting overlayfs mounts").
func portable(name string) bool {
	const own = "user.overlay."
	switch {
	case strings.HasPrefix(name, own):
		return strings.HasPrefix(name[len(own):], "overlay.")
	case strings.HasPrefix(name, "user."):
		return true
	}
	return name == "system.posix_acl_access" || name == "system.posix_acl_default"
}

func getXattr(path, name string) ([]byte, error) {
	buf := make([]byte, 256)
	for {
		n, err := unix.Lgetxattr(path, name, buf)
		if errors.Is(err, unix.ERANGE) {
			buf = make([]byte, 4*len(buf))
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "getxattr " + name, Path: path, Err: err}
		}
		return buf[:n], nil
	}
}
