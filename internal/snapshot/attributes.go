//go:build linux

package snapshot

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/internal/filetree"
)

type unixStat = syscall.Stat_t

// What an owner needs of a directory's mode.
const (
	readable = 0o500
	writable = 0o700
)

// unlocked calls f while the mode of a directory allows its owner what is
// needed. A step's superuser, whom modes do not bind, may have closed it to the
// ordinary user that this process has.
func unlocked(dir string, need uint32, f func() error) error {
	restore, err := unlock(dir, need)
	if err != nil {
		return err
	}
	return errors.Join(f(), restore(dir))
}

// allUnlocked is unlocked for reading many.
func allUnlocked(dirs []string, f func() error) error {
	if len(dirs) == 0 {
		return f()
	}
	return unlocked(dirs[0], readable, func() error { return allUnlocked(dirs[1:], f) })
}

// unlock is unlocked in two parts. The directory may have another path when it
// is restored.
func unlock(dir string, need uint32) (restore func(dir string) error, err error) {
	if os.Geteuid() == 0 {
		return func(string) error { return nil }, nil
	}
	st, err := lstat(dir)
	if err != nil {
		return nil, err
	}
	if st.Mode&need == need || int(st.Uid) != os.Geteuid() {
		return func(string) error { return nil }, nil
	}
	if err := chmod(dir, st.Mode|need); err != nil {
		return nil, err
	}
	return func(dir string) error { return chmod(dir, st.Mode) }, nil
}

// move renames a directory, which takes writing to it: its parent is in it.
func move(from, to string) error {
	restore, err := unlock(from, writable)
	if err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return errors.Join(err, restore(from))
	}
	return restore(to)
}

// copyDirAttributes gives the directory dst the mode, the times, the extended
// attributes and, where the process may do that, the owner of the directory
// src. Overlayfs's own marks are not copied.
func copyDirAttributes(src, dst string) error {
	st, err := lstat(src)
	if err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		if err := os.Lchown(dst, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	if err := unlocked(src, readable, func() error { return filetree.CopyXattrs(src, dst) }); err != nil {
		return err
	}
	if err := chmod(dst, st.Mode); err != nil {
		return err
	}
	return setTimes(dst, st)
}

// sameDirAttributes reports whether two directories have the same of what
// copyDirAttributes copies, except for the time of the last access.
func sameDirAttributes(a, b string) (same bool, err error) {
	sa, err := lstat(a)
	if err != nil {
		return false, err
	}
	sb, err := lstat(b)
	if err != nil {
		return false, err
	}
	if sa.Mode != sb.Mode || sa.Mtim != sb.Mtim {
		return false, nil
	}
	if os.Geteuid() == 0 && (sa.Uid != sb.Uid || sa.Gid != sb.Gid) {
		return false, nil
	}
	return same, unlocked(a, readable, func() error {
		return unlocked(b, readable, func() (err error) {
			same, err = filetree.SameXattrs(a, b)
			return err
		})
	})
}

// keepTimes calls f, which changes what is in dir, and gives dir its times back.
func keepTimes(dir string, f func() error) error {
	st, err := lstat(dir)
	if err != nil {
		return err
	}
	if err := unlocked(dir, writable, f); err != nil {
		return err
	}
	return setTimes(dir, st)
}

func lstat(path string) (*unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return nil, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	return &st, nil
}

func chmod(path string, mode uint32) error {
	if err := unix.Chmod(path, mode&0o7777); err != nil {
		return &os.PathError{Op: "chmod", Path: path, Err: err}
	}
	return nil
}

func setTimes(path string, st *unix.Stat_t) error {
	if err := unix.UtimesNano(path, []unix.Timespec{st.Atim, st.Mtim}); err != nil {
		return &os.PathError{Op: "set the time of", Path: path, Err: err}
	}
	return nil
}
