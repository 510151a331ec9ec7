package host

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/strata-ci/strata/runner"
)

// owner keeps a list of a runner's snapshots that are not kept, on disk, under a
// lock that ends with the process. So what a killed process leaves is found
// without looking at all snapshots, and without knowing of its run.
type owner struct {
	state state

	mu   sync.Mutex
	room *room // nil until something is owned
}

// add puts a snapshot on the list, before it is made.
func (o *owner) add(ref string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.room == nil {
		var err error
		if o.room, err = o.state.openOwner(); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(filepath.Join(o.room.dir, ref), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// remove takes a snapshot from the list, after it was removed or kept. It need
// not be there.
func (o *owner) remove(ref string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.room == nil || !validName(ref) {
		return nil
	}
	if err := os.Remove(filepath.Join(o.room.dir, ref)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// close gives up the list; it is removed if nothing is on it.
func (o *owner) close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.room == nil {
		return nil
	}
	r := o.room
	o.room = nil
	if os.Remove(r.dir) != nil { // it is not empty
		return r.lock.Close()
	}
	return r.close()
}

// openOwner makes and locks a list with a name that nobody else uses.
func (s state) openOwner() (*room, error) {
	return s.open(filepath.Join(s.owners(), "run-"+rand.Text()), (*room).mkdir)
}

// abandon removes the snapshots of an owner that is gone, but for kept ones.
func (s state) abandon(ctx context.Context, owner *room) error {
	refs, err := os.ReadDir(owner.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, ref := range refs {
		if err := ctx.Err(); err != nil {
			return err
		}
		kept, err := s.kept(ref.Name())
		if err != nil {
			return err
		}
		if kept {
			continue
		}
		if err := s.reap(runner.SnapshotRef(ref.Name())); err != nil {
			return err
		}
	}
	return nil
}
