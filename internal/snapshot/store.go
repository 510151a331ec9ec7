//go:build linux

package snapshot

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/strata-ci/strata/runner"
)

// Tree names one of the two trees of a layer.
type Tree string

// The trees of a layer.
const (
	Root      Tree = "root"
	Workspace Tree = "workspace"
)

// MaxLayers is the longest chain of a snapshot. A commit that would exceed it
// flattens the chain into one layer. Overlayfs itself allows 500 lower
// directories (OVL_MAX_STACK), but takes their names in one page of memory.
const MaxLayers = 64

// Store is a directory of snapshots and layers, used by one process.
type Store struct {
	dir string
}

// record is what a snapshot's file holds.
type record struct {
	Version int      `json:"version"`
	Layers  []string `json:"layers"` // topmost first
}

const recordVersion = 1

// Open opens the store in dir and creates it on first use.
func Open(dir string) (*Store, error) {
	for _, sub := range []string{"snapshots", "layers", "active", "empty"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("open the snapshot store: %w", err)
		}
	}
	return &Store{dir: dir}, nil
}

// ActiveDir returns the directory of what is in use now and no snapshot's.
func (s *Store) ActiveDir() string { return filepath.Join(s.dir, "active") }

// Layers returns the layer directories of a snapshot, topmost first. An
// unknown or damaged snapshot is an *runner.InfraError of KindSnapshot.
func (s *Store) Layers(ref runner.SnapshotRef) ([]string, error) {
	rec, err := s.read(ref)
	if err != nil {
		return nil, &runner.InfraError{Op: "open snapshot " + string(ref), Kind: runner.KindSnapshot, Err: err}
	}
	dirs := make([]string, len(rec.Layers))
	for i, id := range rec.Layers {
		dirs[i] = s.layerDir(id)
		if _, err := os.Stat(dirs[i]); err != nil {
			return nil, &runner.InfraError{Op: "open snapshot " + string(ref), Kind: runner.KindSnapshot, Err: err}
		}
	}
	return dirs, nil
}

// Remove removes snapshots and the layers that no other snapshot needs.
// Names that do not exist are no error.
func (s *Store) Remove(refs ...runner.SnapshotRef) error {
	orphans := map[string]bool{}
	var errs []error
	for _, ref := range refs {
		rec, err := s.read(ref)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
		}
		for _, id := range rec.Layers {
			orphans[id] = true
		}
		if err := os.Remove(s.recordFile(ref)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if len(orphans) == 0 {
		return errors.Join(errs...)
	}
	remaining, err := s.List()
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, ref := range remaining {
		rec, err := s.read(ref)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(append(errs, err)...)
		}
		for _, id := range rec.Layers {
			delete(orphans, id)
		}
	}
	for id := range orphans {
		errs = append(errs, RemoveTree(s.layerDir(id)))
	}
	return errors.Join(errs...)
}

// List returns the names of all snapshots in order.
func (s *Store) List() ([]runner.SnapshotRef, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "snapshots"))
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var refs []runner.SnapshotRef
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".json"); ok {
			refs = append(refs, runner.SnapshotRef(name))
		}
	}
	return refs, nil
}

// write stores the record of ref, which must be new.
func (s *Store) write(ref runner.SnapshotRef, rec record) error {
	data, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Join(s.dir, "snapshots"), "tmp-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), s.recordFile(ref))
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}

func (s *Store) read(ref runner.SnapshotRef) (record, error) {
	if !validRef(ref) {
		return record{}, fmt.Errorf("%q is not the name of a snapshot: %w", ref, fs.ErrNotExist)
	}
	data, err := os.ReadFile(s.recordFile(ref))
	if err != nil {
		return record{}, err
	}
	var rec record
	if err := json.Unmarshal(data, &rec); err != nil {
		return record{}, fmt.Errorf("%s is damaged: %w", s.recordFile(ref), err)
	}
	if rec.Version != recordVersion {
		return record{}, fmt.Errorf("%s has version %d, this program knows %d", s.recordFile(ref), rec.Version, recordVersion)
	}
	if slices.ContainsFunc(rec.Layers, func(id string) bool { return !validRef(runner.SnapshotRef(id)) }) {
		return record{}, fmt.Errorf("%s is damaged: it names a malformed layer", s.recordFile(ref))
	}
	return rec, nil
}

// emptyDir returns a directory that stays empty.
func (s *Store) emptyDir() string { return filepath.Join(s.dir, "empty") }

func (s *Store) recordFile(ref runner.SnapshotRef) string {
	return filepath.Join(s.dir, "snapshots", string(ref)+".json")
}

func (s *Store) layerDir(id string) string { return filepath.Join(s.dir, "layers", id) }

// newLayerID returns a short random name: it is repeated for every layer in
// the options of a mount, which are limited to one page.
func newLayerID() string {
	b := make([]byte, 6)
	_, _ = rand.Read(b) // never fails: crypto/rand promises it
	return hex.EncodeToString(b)
}

func validRef(ref runner.SnapshotRef) bool {
	if ref == "" || len(ref) > 128 || ref[0] == '.' {
		return false
	}
	return !slices.ContainsFunc([]rune(ref), func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("._-", c))
	})
}
