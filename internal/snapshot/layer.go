//go:build linux

package snapshot

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/internal/filelock"
	"github.com/strata-ci/strata/internal/filetree"
	"github.com/strata-ci/strata/pipeline"
)

// layer is a directory that never changes any more.
type layer struct {
	id, dir string
	modes   filetree.Modes // of a [Copy]: those that differ from the directory's

	// The store's lock guards these.
	users int // snapshots and forks
	kept  bool
	bytes pipeline.Bytes // of a kept one
	lock  *os.File       // of a kept one: holds it against removal by other processes

	mu    sync.Mutex
	known map[string]sight // by tree and path
}

// hold locks the layer against removal by other processes. It reports false if
// one is removing it. The lock is the directory's own: it needs no other file,
// and goes where the directory goes.
func (l *layer) hold() (held bool, err error) {
	if l.lock != nil {
		return true, nil
	}
	f, err := os.OpenFile(l.dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return false, err
	}
	held, err = filelock.Try(f, filelock.Shared)
	if !held {
		return false, errors.Join(err, f.Close())
	}
	l.lock = f
	return true, nil
}

func (l *layer) unlock() error {
	if l.lock == nil {
		return nil
	}
	f := l.lock
	l.lock = nil
	return f.Close()
}

// sight is what a layer shows at a path.
type sight struct {
	dir    string // the directory there, "" for none
	hidden bool   // what lies below the layer does not show there
}

// look returns what the layer shows at a path of a tree. Layers never change,
// so each place is looked at once.
func (l *layer) look(tree Tree, at string) (sight, error) {
	p := filepath.Join(string(tree), at)
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok := l.known[p]
	if ok {
		return s, nil
	}
	parts := strings.Split(p, string(filepath.Separator))
	s, err := find(filepath.Join(l.dir, parts[0]), parts[1:])
	if err == nil {
		l.known[p] = s
	}
	return s, err
}

// find walks from dir along the names.
func find(dir string, names []string) (s sight, err error) {
	e, err := look(dir)
	if err != nil || !e.dir || len(names) == 0 {
		s.hidden = e.opaque || e.covers
		if e.dir {
			s.dir = dir
		}
		return s, err
	}
	err = unlocked(dir, readable, func() error {
		s, err = find(filepath.Join(dir, names[0]), names[1:])
		return err
	})
	s.hidden = s.hidden || e.opaque
	return s, err
}

// resolve returns the directories at a path of the layers' trees, topmost
// first, and whether a layer hides what lies below all of them.
func resolve(layers []*layer, tree Tree, at string) (dirs []string, hidden bool, err error) {
	for _, l := range layers {
		s, err := l.look(tree, at)
		if err != nil {
			return nil, false, err
		}
		if s.dir != "" {
			dirs = append(dirs, s.dir)
		}
		if s.hidden {
			return dirs, true, nil
		}
	}
	return dirs, false, nil
}

const (
	// opaqueXattr marks a directory of a layer that hides the one below it. The
	// name is that of mounts with the option userxattr, which ordinary users can set.
	opaqueXattr = "user.overlay.opaque"
	// originXattr, even empty, tells overlayfs that a directory may hold
	// whiteouts although it lies on no other: fs/overlayfs/inode.c, ovl_get_inode.
	originXattr = "user.overlay.origin"
)

// entry says what a layer has at a path.
type entry struct {
	dir    bool // a directory
	opaque bool // a directory that hides the one below it
	covers bool // anything else: a file that covers, or a whiteout that removes, what is below
}

func look(path string) (e entry, err error) {
	var st unix.Stat_t
	err = unix.Lstat(path, &st)
	switch {
	case errors.Is(err, unix.ENOENT):
		return entry{}, nil
	case err != nil:
		return entry{}, &os.PathError{Op: "lstat", Path: path, Err: err}
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return entry{covers: true}, nil
	}
	e.dir = true
	return e, unlocked(path, readable, func() (err error) {
		e.opaque, err = isOpaque(path)
		return err
	})
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

func isWhiteout(info os.FileInfo) bool {
	st, ok := info.Sys().(*unixStat)
	return ok && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}
