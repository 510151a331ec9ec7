//go:build linux

package snapshot

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/internal/fault"
	"github.com/strata-ci/strata/internal/filelock"
	"github.com/strata-ci/strata/internal/filetree"
	"github.com/strata-ci/strata/runner"
)

// What a process makes and does not keep lies in a directory of its own, which
// it holds locked for as long as it lives, or in layers that are called after
// that directory. So what a killed process left can be told from what is in use.

// live is the directory of one process.
type live struct {
	dir   string
	token string // unique; the names of the process's layers start with it
	lock  *os.File
}

const livePrefix = "run-"

// tokenChars is the length of a token: 32^7 of them are enough that one is never
// drawn twice, and it is repeated in the options of mounts.
const tokenChars = 7

// openLive makes a directory for this process below parent.
func openLive(parent string) (*live, error) {
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, err
	}
	gate, err := openGate(parent)
	if err != nil {
		return nil, err
	}
	defer gate.Close()
	spread(parent)
	token := strings.ToLower(rand.Text()[:tokenChars])
	l := &live{dir: filepath.Join(parent, livePrefix+token), token: token}
	if err := os.Mkdir(l.dir, 0o700); err != nil {
		return nil, err
	}
	if l.lock, err = filelock.Open(filepath.Join(l.dir, "lock"), filelock.Exclusive); err != nil {
		return nil, errors.Join(err, filetree.Remove(l.dir))
	}
	for _, sub := range []string{"active", "empty"} {
		if err := os.Mkdir(filepath.Join(l.dir, sub), 0o700); err != nil {
			return nil, errors.Join(err, l.close())
		}
	}
	return l, nil
}

// openGate waits for the lock that is held while directories appear without
// their own locks.
func openGate(parent string) (*os.File, error) {
	return filelock.Open(filepath.Join(parent, "lock"), filelock.Exclusive)
}

// topDir is FS_TOPDIR_FL of linux/fs.h, the flag T of chattr(1).
const topDir = 0x00020000

// spread tells ext4 that the directories in dir have nothing to do with each
// other, so that each starts in a part of the disk of its own. Without a
// journal, ext4 does not use an inode again for minutes after its file was
// deleted, and passes over all of these for each new file near them. It is a
// matter of speed alone, so a file system that does not know the flag is fine.
func spread(dir string) {
	f, err := os.Open(dir)
	if err != nil {
		return
	}
	defer f.Close()
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err == nil && flags&topDir == 0 {
		_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags|topDir)
	}
}

// close removes the directory.
func (l *live) close() error { return errors.Join(filetree.Remove(l.dir), l.lock.Close()) }

// Live returns a directory of this process alone, made at the first call and
// removed by Close. A killed process's is removed when the next store is opened.
func (s *Store) Live() (string, error) {
	l, err := s.enter()
	if err != nil {
		return "", runner.AsInfra("make a directory for this process", err)
	}
	return l.dir, nil
}

func (s *Store) enter() (*live, error) {
	s.entry.Lock()
	defer s.entry.Unlock()
	if s.live != nil {
		return s.live, nil
	}
	if s.db.ReadOnly() {
		return nil, errors.New("the records were opened to be read only")
	}
	if err := fault.Point("snapshot: make a live directory"); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.layersDir(), 0o700); err != nil {
		return nil, err
	}
	spread(s.layersDir())
	l, err := openLive(s.liveDir())
	if err != nil {
		return nil, err
	}
	s.live = l
	return l, nil
}

func (s *Store) liveDir() string   { return filepath.Join(s.dir, "live") }
func (s *Store) layersDir() string { return filepath.Join(s.dir, "layers") }

// sweepDead removes what processes left that are gone: the layers that were not
// kept, then their directories. It costs nothing where there is none.
func (s *Store) sweepDead() error {
	found, err := os.ReadDir(s.liveDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var dirs []string
	for _, e := range found {
		if strings.HasPrefix(e.Name(), livePrefix) {
			dirs = append(dirs, e.Name())
		}
	}
	if len(dirs) == 0 {
		return nil
	}
	gate, err := openGate(s.liveDir())
	if err != nil {
		return err
	}
	defer gate.Close()
	for _, name := range dirs {
		if err := s.sweepOne(strings.TrimPrefix(name, livePrefix)); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) sweepOne(token string) error {
	lock, err := s.dead(token)
	if err != nil || lock == nil {
		return err
	}
	defer lock.Close()
	s.foundDead = true
	if err := fault.Point("snapshot: sweep a dead process"); err != nil {
		return err
	}
	names, err := filepath.Glob(filepath.Join(s.layersDir(), token+".*"))
	if err != nil {
		return err
	}
	for _, path := range names {
		if err := s.removeUnrecorded(filepath.Base(path)); err != nil {
			return err
		}
	}
	return filetree.Remove(filepath.Join(s.liveDir(), livePrefix+token))
}

// dead returns the lock of a process's directory if that process is gone, nil
// if it is not, or its directory is gone.
func (s *Store) dead(token string) (*os.File, error) {
	dir := filepath.Join(s.liveDir(), livePrefix+token)
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if dead, err := filelock.Try(lock, filelock.Exclusive); err != nil || !dead {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// FoundDead reports whether a killed process had left something when the store
// was opened.
func (s *Store) FoundDead() bool { return s.foundDead }
