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
//	lock               held exclusively to sweep, shared to open a room
//	steps/ID.lock      held while the step ID runs, also by its supervisor
//	steps/ID/          the room of a running step
//	snapshots/REF/     a committed room: workspace/ and snapshot.json
//
// Whatever lies in steps without a held lock was left by a crash.
type state struct{ dir string }

func (s state) steps() string                { return filepath.Join(s.dir, "steps") }
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
	// Steps may run as other users (sudo) and look up their own path.
	if err := os.MkdirAll(s.steps(), 0o755); err != nil {
		return nil, err
	}
	global, err := filelock.Open(s.lock(), filelock.Shared)
	if err != nil {
		return nil, err
	}
	defer global.Close()
	r := &room{dir: filepath.Join(s.steps(), id)}
	if r.lock, err = openLock(r.dir + lockSuffix); err != nil {
		return nil, err
	}
	if err := r.makeEmpty(); err != nil {
		return nil, errors.Join(err, r.lock.Close())
	}
	return r, nil
}

// makeEmpty takes the room's lock and makes its directories, also where a crash
// left some.
func (r *room) makeEmpty() error {
	held, err := filelock.Try(r.lock, filelock.Exclusive)
	if err != nil {
		return err
	}
	if !held {
		return errors.New("another process runs a step with the same ID: " + r.dir)
	}
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

// sweep removes the rooms whose lock nobody holds.
func (s state) sweep(ctx context.Context) error {
	dead, err := s.lockDead()
	var errs []error
	for _, r := range dead {
		if err := ctx.Err(); err != nil {
			errs = append(errs, err, r.lock.Close())
			continue
		}
		errs = append(errs, r.close())
	}
	return errors.Join(append(errs, err)...)
}

// lockDead returns all rooms that nobody uses, locked so that nobody else
// removes them at the same time.
func (s state) lockDead() ([]*room, error) {
	entries, err := os.ReadDir(s.steps())
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
	if entries, err = os.ReadDir(s.steps()); err != nil {
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
		r := &room{dir: filepath.Join(s.steps(), id)}
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
