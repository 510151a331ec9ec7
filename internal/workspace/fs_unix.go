//go:build linux || darwin

package workspace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// openFlags keep an open from blocking on a FIFO that took a file's place.
const openFlags = unix.O_NONBLOCK

func statFrom(st *unix.Stat_t) stat {
	msec, mnsec := st.Mtim.Unix()
	csec, cnsec := st.Ctim.Unix()
	return stat{
		mode:  uint32(st.Mode),
		size:  st.Size,
		mtime: instant{msec, uint32(mnsec)},
		ctime: instant{csec, uint32(cnsec)},
		ino:   st.Ino,
		dev:   uint64(st.Dev),
	}
}

// retry repeats a call that a signal has interrupted.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func lstat(path string) (stat, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Lstat(path, &st) }); err != nil {
		return stat{}, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return statFrom(&st), nil
}

func fstat(f *os.File) (stat, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(int(f.Fd()), &st) }); err != nil {
		return stat{}, &fs.PathError{Op: "fstat", Path: f.Name(), Err: err}
	}
	return statFrom(&st), nil
}

// openRegular opens a regular file to read. It follows no symlink in the last
// place and waits for no FIFO.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	st, err := fstat(f)
	if err == nil && st.kind() != typeRegular {
		err = &fs.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// setTimes sets the time of a file, a directory or a symlink itself.
func setTimes(path string, t instant) error {
	ts, err := timespec(t)
	if err != nil {
		return err
	}
	err = unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return &fs.PathError{Op: "set the time of", Path: path, Err: err}
	}
	return nil
}

func timespec(t instant) (unix.Timespec, error) {
	ts, err := unix.TimeToTimespec(t.time())
	if err != nil {
		return ts, fmt.Errorf("time %v: %w", t.time(), err)
	}
	return ts, nil
}

// directory is an open directory of the working tree.
type directory struct {
	path string
	fd   int
}

// openDirectory opens a directory and no symlink to one.
func openDirectory(path string) (d directory, err error) {
	err = retry(func() error {
		d.fd, err = unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return d, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	d.path = path
	return d, nil
}

func (d directory) close() error { return unix.Close(d.fd) }

// names returns the names in the directory, in no order. The pool has buffers
// of type *[]byte.
func (d directory) names(pool *sync.Pool) ([]string, error) {
	buf := pool.Get().(*[]byte)
	defer pool.Put(buf)
	var names []string
	for {
		var n int
		err := retry(func() (err error) {
			n, err = unix.ReadDirent(d.fd, *buf)
			return err
		})
		if err != nil {
			return nil, &fs.PathError{Op: "list", Path: d.path, Err: err}
		}
		if n == 0 {
			return names, nil
		}
		_, _, names = unix.ParseDirent((*buf)[:n], -1, names)
	}
}

func (d directory) lstat(name string) (stat, error) {
	var st unix.Stat_t
	err := unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	for errors.Is(err, unix.EINTR) {
		err = unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return stat{}, err
	}
	return statFrom(&st), nil
}

// readable asks whether a file can be opened to read, without opening it.
func (d directory) readable(name string) error {
	return retry(func() error { return unix.Faccessat(d.fd, name, unix.R_OK, unix.AT_EACCESS) })
}
