package host

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/strata-ci/strata/internal/filelock"
	"github.com/strata-ci/strata/internal/filetree"
)

// state is the runner's directory:
//
//	lock                 held exclusively to sweep, shared to open what follows
//	steps/ID.lock        held while the step ID runs, also by its supervisor
//	steps/ID/            the room of a running step
//	owners/NAME.lock     held by a runner that makes snapshots
//	owners/NAME/REF      an empty file for each of its snapshots that is not kept
//	snapshots/REF/       a committed room: workspace/, snapshot.gob, baseline.gob
//	snapshots/REF/kept.gob  makes it a kept one
//
// Whatever lies in steps without a held lock was left by a crash, and so was a
// snapshot that is not kept and whose owner holds no lock.
type state struct{ dir string }

func (s state) steps() string                { return filepath.Join(s.dir, "steps") }
func (s state) owners() string               { return filepath.Join(s.dir, "owners") }
func (s state) snapshots() string            { return filepath.Join(s.dir, "snapshots") }
func (s state) snapshot(ref string) string   { return filepath.Join(s.snapshots(), ref) }
func (s state) lock() string                 { return filepath.Join(s.dir, "lock") }
func openLock(path string) (*os.File, error) { return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) }

const lockSuffix = ".lock"

// room is the private directory of one running step.
type room struct {
	dir  string
	lock *os.File
}

func (r *room) workspace() string { return filepath.Join(r.dir, "workspace") }
func (r *room) tmp() string       { return filepath.Join(r.dir, "tmp") }
func (r *room) home() string      { return filepath.Join(r.dir, "home") }

// openRoom makes and locks an empty room. Nobody else may use id meanwhile.
func (s state) openRoom(id string) (*room, error) {
	if !validName(id) {
		return nil, errors.New("the step's ID is not a file name: " + id)
	}
	return s.open(filepath.Join(s.steps(), id), (*room).makeEmpty)
}

// open locks the directory dir, and makes it.
func (s state) open(dir string, make func(*room) error) (*room, error) {
	// Steps may run as other users (sudo) and look up their own path.
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, err
	}
	global, err := filelock.Open(s.lock(), filelock.Shared)
	if err != nil {
		return nil, err
	}
	defer global.Close()
	r := &room{dir: dir}
	if r.lock, err = openLock(r.dir + lockSuffix); err != nil {
		return nil, err
	}
	held, err := filelock.Try(r.lock, filelock.Exclusive)
	if err == nil && !held {
		err = errors.New("another process uses " + r.dir)
	}
	if err == nil {
		err = make(r)
	}
	if err != nil {
		return nil, errors.Join(err, r.lock.Close())
	}
	return r, nil
}

// mkdir makes the room alone.
func (r *room) mkdir() error { return os.Mkdir(r.dir, 0o700) }

// makeEmpty makes the room's directories, also where a crash left some.
func (r *room) makeEmpty() error {
	if err := filetree.Remove(r.dir); err != nil {
		return err
	}
	for _, dir := range []string{r.dir, r.workspace(), r.tmp()} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		// Mkdir obeys the caller's umask, which is none of the step's business.
		if err := os.Chmod(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// close removes what is left of the room and gives up its lock.
func (r *room) close() error {
	err := filetree.Remove(r.dir)
	return errors.Join(err, filelock.Remove(r.lock))
}

// sweep removes the rooms whose lock nobody holds, and first the snapshots that
// nobody owns.
func (s state) sweep(ctx context.Context) error {
	return errors.Join(
		s.sweepIn(ctx, s.owners(), s.abandon),
		s.sweepIn(ctx, s.steps(), func(context.Context, *room) error { return nil }))
}

// sweepIn removes those directories in dir whose lock nobody holds, each after
// before has succeeded.
func (s state) sweepIn(ctx context.Context, dir string, before func(context.Context, *room) error) error {
	dead, err := s.lockDead(dir)
	errs := []error{err}
	for _, r := range dead {
		err := ctx.Err()
		if err == nil {
			err = before(ctx, r)
		}
		if err != nil {
			errs = append(errs, err, r.lock.Close())
			continue
		}
		errs = append(errs, r.close())
	}
	return errors.Join(errs...)
}

// lockDead returns what nobody uses of the rooms in dir, locked so that nobody
// else removes it at the same time.
func (s state) lockDead(dir string) ([]*room, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		return nil, nil
	}
	global, err := filelock.Open(s.lock(), filelock.Exclusive)
	if err != nil {
		return nil, err
	}
	defer global.Close()
	// Read again under the lock: a room is complete or dead from here on.
	if entries, err = os.ReadDir(dir); err != nil {
		return nil, err
	}
	var dead []*room
	seen := map[string]bool{}
	for _, e := range entries {
		id := strings.TrimSuffix(e.Name(), lockSuffix)
		if seen[id] {
			continue
		}
		seen[id] = true
		r := &room{dir: filepath.Join(dir, id)}
		if r.lock, err = openLock(r.dir + lockSuffix); err != nil {
			return dead, err
		}
		held, err := filelock.Try(r.lock, filelock.Exclusive)
		if err == nil && held {
			dead = append(dead, r)
			continue
		}
		if err := errors.Join(err, r.lock.Close()); err != nil {
			return dead, err
		}
	}
	return dead, nil
}

// validName reports whether name can be a directory's name here and on every
// other platform.
func validName(name string) bool {
	if name == "" || len(name) > 128 || strings.HasPrefix(name, ".") || strings.HasSuffix(name, lockSuffix) {
		return false
	}
	return strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == ""
}
