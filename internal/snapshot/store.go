//go:build linux

package snapshot

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/internal/records"
	"github.com/strata-ci/strata/runner"
)

// Tree names one of the two trees of a layer.
type Tree string

// The trees of a layer.
const (
	Root      Tree = "root"
	Workspace Tree = "workspace"
)

// Store is a directory of layers, and the snapshots that they make up. Many
// processes may have the same directory open.
type Store struct {
	dir       string
	db        *records.DB
	cleaner   *cleaner
	maxLayers int
	foundDead bool
	keeping   chan struct{} // holds an element while Keep works

	listLayers func() (*sql.Stmt, error) // prepared when it is first needed

	entry sync.Mutex // guards live
	live  *live      // nil until something is made

	mu        sync.Mutex
	snapshots map[runner.SnapshotRef]*snapshot // made by this process
	layers    map[string]*layer                // those in use, by ID
	made      int                              // forks and layers so far: their directories' names
	checked   map[string]*verdict              // by layer
}

// snapshot is a name of layers.
type snapshot struct {
	chain []*layer // topmost first
	kept  bool     // it is in the records, too
}

// Open opens the store in dir, and removes what killed processes left there.
// After another boot of the machine, or with new records in place of others, it
// looks at everything (see [Store.Sweep]). With read-only records it writes
// nothing, and neither does the store: it can only look at snapshots.
func Open(dir string, db *records.DB) (*Store, error) {
	s := &Store{
		dir: dir, db: db, cleaner: startCleaner(), maxLayers: MaxLayers, keeping: make(chan struct{}, 1),
		snapshots: map[runner.SnapshotRef]*snapshot{}, layers: map[string]*layer{}, checked: map[string]*verdict{},
	}
	s.listLayers = sync.OnceValues(s.prepareListLayers)
	if db.ReadOnly() {
		return s, nil
	}
	// On a full disk some things cannot be swept before others are removed.
	if err := s.sweepAtOpen(); err != nil && !runner.IsDiskFull(err) {
		return nil, errors.Join(runner.AsInfra("open the snapshot store", err), s.cleaner.close())
	}
	return s, nil
}

// Close removes what this process has made and not kept, and waits until it is
// gone. No other method may be called after it.
func (s *Store) Close() error {
	var errs []error
	for _, l := range s.layers {
		if l.kept {
			errs = append(errs, l.unlock())
			continue
		}
		s.cleaner.remove(l.dir)
		errs = append(errs, l.unlock())
	}
	errs = append(errs, s.cleaner.close())
	switch {
	case s.live == nil:
	case s.cleaner.failed: // the directory tells the next sweep to look for the rest
		errs = append(errs, s.live.lock.Close())
	default:
		errs = append(errs, s.live.close())
	}
	return errors.Join(errs...)
}

// Wait returns when all that forks and snapshots have left is removed, with
// what could not be.
func (s *Store) Wait() error {
	if err := s.cleaner.wait(); err != nil {
		return runner.AsInfra("remove what steps left", err)
	}
	return nil
}

// acquire returns the layers of a snapshot, none for the empty name, to be
// released again. An unknown snapshot is an *runner.InfraError of KindSnapshot.
func (s *Store) acquire(ref runner.SnapshotRef) ([]*layer, error) {
	if ref == "" {
		return nil, nil
	}
	s.mu.Lock()
	if own, ok := s.snapshots[ref]; ok {
		defer s.mu.Unlock()
		for _, l := range own.chain {
			l.users++
		}
		return own.chain, nil
	}
	s.mu.Unlock()
	chain, err := s.acquireKept(context.Background(), ref)
	if err != nil {
		return nil, asSnapshotError("start from the snapshot "+string(ref), err)
	}
	return layersOf(chain), nil
}

// release gives layers up and has those removed that nobody else uses and that
// are not kept.
func (s *Store) release(layers []*layer) {
	for _, dir := range s.unused(layers) {
		s.cleaner.remove(dir)
	}
}

func (s *Store) unused(layers []*layer) (dirs []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range layers {
		if l.users--; l.users > 0 {
			continue
		}
		delete(s.layers, l.id)
		_ = l.unlock() // of a directory, which was only read
		if !l.kept {
			dirs = append(dirs, l.dir)
		}
	}
	return dirs
}

// replace gives layers the name of ref, and returns those that had it before.
func (s *Store) replace(ref runner.SnapshotRef, layers []*layer) (old []*layer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if before, ok := s.snapshots[ref]; ok {
		old = before.chain
	}
	for _, l := range layers {
		l.users++
		s.layers[l.id] = l
	}
	s.snapshots[ref] = &snapshot{chain: layers}
	return old
}

// newLayer makes a directory, which the caller will not use any more, a layer.
func (s *Store) newLayer(from string) (*layer, error) {
	l := s.layer(s.live.token + "." + s.newName())
	return l, os.Rename(from, l.dir)
}

// layer returns a layer that is not used yet.
func (s *Store) layer(id string) *layer {
	return &layer{id: id, dir: filepath.Join(s.layersDir(), id), known: map[string]sight{}}
}

// newName returns a short name: it is repeated for every layer in the options
// of a mount, which are limited to one page.
func (s *Store) newName() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made++
	return strconv.Itoa(s.made)
}

// branch is what every fork is: a directory of its own, once it needs one, and its parent's layers.
type branch struct {
	store *Store
	dir   string
	chain []*layer // the parent's, topmost first
	ended bool
}

func (s *Store) branch(parent runner.SnapshotRef) (branch, error) {
	if s.short() {
		if err := s.Wait(); err != nil {
			return branch{}, err
		}
	}
	l, err := s.enter()
	if err != nil {
		return branch{}, runner.AsInfra("fork a snapshot", err)
	}
	b := branch{store: s, dir: filepath.Join(l.dir, "active", s.newName())}
	if b.chain, err = s.acquire(parent); err != nil {
		return b, err
	}
	return b, nil
}

// mkdir makes the fork's directory.
func (b *branch) mkdir() error {
	if err := os.Mkdir(b.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return runner.AsInfra("fork a snapshot", err)
	}
	return nil
}

// shortBelow is the part of a file system that has to be free for a step to
// start while earlier steps' files are being removed, as 1/shortBelow.
const shortBelow = 8

// short reports whether what is to be removed may be missing as free space.
func (s *Store) short() bool {
	var st unix.Statfs_t
	err := unix.Statfs(s.dir, &st)
	return err != nil || st.Bavail < st.Blocks/shortBelow
}

// Discard ends the fork. All that it has and no snapshot needs is removed soon:
// see [Store.Wait]. It does nothing after Commit or another Discard.
func (b *branch) Discard() {
	if b.ended {
		return
	}
	b.ended = true
	b.store.cleaner.remove(b.dir)
	b.store.release(b.chain)
}

// commit ends the fork with what make returns as the layers of ref.
func (b *branch) commit(ref runner.SnapshotRef, layers func() ([]*layer, error)) error {
	defer b.Discard()
	if !validRef(ref) {
		return &runner.InfraError{Op: "commit a snapshot", Kind: runner.KindInternal, Err: fmt.Errorf("%q cannot be its name", ref)}
	}
	made, err := layers()
	if err != nil {
		return runner.AsInfra("commit the snapshot "+string(ref), err)
	}
	b.store.release(b.store.replace(ref, made))
	return nil
}

func validRef(ref runner.SnapshotRef) bool {
	if ref == "" || len(ref) > 128 {
		return false
	}
	return !slices.ContainsFunc([]rune(ref), func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("._-", c))
	})
}
