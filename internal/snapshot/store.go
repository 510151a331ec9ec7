//go:build linux

package snapshot

import (
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

	"github.com/strata-ci/strata/runner"
)

// Tree names one of the two trees of a layer.
type Tree string

// The trees of a layer.
const (
	Root      Tree = "root"
	Workspace Tree = "workspace"
)

// Store is a directory of layers, and the snapshots that they make up.
type Store struct {
	dir       string
	cleaner   *cleaner
	maxLayers int

	mu        sync.Mutex
	snapshots map[runner.SnapshotRef][]*layer // topmost first
	made      int                             // forks and layers so far: their directories' names
}

// Open makes a store in dir, a directory of this process alone. Whatever is in
// it is of no use after Close or after the process.
func Open(dir string) (*Store, error) {
	for _, sub := range []string{"layers", "active", "empty"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, runner.AsInfra("open the snapshot store", err)
		}
	}
	return &Store{dir: dir, cleaner: startCleaner(), maxLayers: MaxLayers, snapshots: map[runner.SnapshotRef][]*layer{}}, nil
}

// Close waits until what is to be removed is gone. No other method may be
// called after it.
func (s *Store) Close() error { return s.cleaner.close() }

// ActiveDir returns the directory of what is in use now and no snapshot's.
func (s *Store) ActiveDir() string { return filepath.Join(s.dir, "active") }

// Remove removes snapshots and the layers that no other snapshot and no fork
// needs, and returns when the disk is free of them. Names that do not exist are
// no error.
func (s *Store) Remove(refs ...runner.SnapshotRef) error {
	for _, ref := range refs {
		s.release(s.replace(ref, nil))
	}
	return s.Wait()
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
	defer s.mu.Unlock()
	layers, ok := s.snapshots[ref]
	if !ok {
		return nil, &runner.InfraError{
			Op: "start from the snapshot " + string(ref), Kind: runner.KindSnapshot,
			Err: errors.New("it does not exist any more: run the step that makes it again"),
		}
	}
	for _, l := range layers {
		l.users++
	}
	return layers, nil
}

// release gives layers up and has those removed that nobody else uses.
func (s *Store) release(layers []*layer) {
	for _, dir := range s.unused(layers) {
		s.cleaner.remove(dir)
	}
}

func (s *Store) unused(layers []*layer) (dirs []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range layers {
		if l.users--; l.users == 0 {
			dirs = append(dirs, l.dir)
		}
	}
	return dirs
}

// replace gives layers, which may be none, the name of ref, and returns those
// that had it before.
func (s *Store) replace(ref runner.SnapshotRef, layers []*layer) (old []*layer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old = s.snapshots[ref]
	delete(s.snapshots, ref)
	if layers == nil {
		return old
	}
	for _, l := range layers {
		l.users++
	}
	s.snapshots[ref] = layers
	return old
}

// newLayer makes a directory, which the caller will not use any more, a layer.
func (s *Store) newLayer(from string) (*layer, error) {
	l := &layer{dir: filepath.Join(s.dir, "layers", s.newName()), known: map[string]sight{}}
	return l, os.Rename(from, l.dir)
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
	b := branch{store: s, dir: filepath.Join(s.ActiveDir(), s.newName())}
	var err error
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
