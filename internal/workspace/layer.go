package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/strata-ci/strata/internal/fault"
	"github.com/strata-ci/strata/internal/filelock"
	"github.com/strata-ci/strata/internal/filetree"
)

// On disk, layer NAME is layers/NAME/: the directory "tree" that is stacked,
// and the file "lock" that captures in use hold a shared lock on. A layer is
// made under the name "new" and never changes once it has its own.
const (
	layersName  = "layers"
	newName     = "new"
	treeName    = "tree"
	lockName    = "lock"
	tempSuffix  = ".new"
	maxNameSize = 18 // digits
)

// isLayerName reports whether name is that of a finished layer: a number.
func isLayerName(name string) bool {
	if name == "" || len(name) > maxNameSize || name[0] == '0' {
		return false
	}
	return strings.Trim(name, "0123456789") == ""
}

func (s *Store) layerPath(name string, elem ...string) string {
	return filepath.Join(append([]string{s.dir, layersName, name}, elem...)...)
}

// trees returns the directories to stack.
func (s *Store) trees(layers []string) []string {
	dirs := make([]string, len(layers))
	for i, name := range layers {
		dirs[i] = s.layerPath(name, treeName)
	}
	return dirs
}

// createLayer makes the new layer's directory, empty.
func (s *Store) createLayer() error {
	if err := os.Mkdir(s.layerPath(newName), 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(s.layerPath(newName, treeName), 0o700); err != nil {
		return err
	}
	return writeFile(s.layerPath(newName, lockName), nil, false)
}

// nameLayer gives the new layer its name, one that no layer on disk has.
func (s *Store) nameLayer() (string, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, layersName))
	if err != nil {
		return "", err
	}
	last := uint64(0)
	for _, e := range entries {
		if number, err := strconv.ParseUint(e.Name(), 10, 64); err == nil {
			last = max(last, number)
		}
	}
	name := strconv.FormatUint(last+1, 10)
	if err := fault.Point("workspace: name a layer"); err != nil {
		return "", err
	}
	return name, os.Rename(s.layerPath(newName), s.layerPath(name))
}

// canHide reports whether the file system of the new layer takes whiteouts.
func (s *Store) canHide() (bool, error) {
	probe := s.layerPath(newName, "probe")
	if err := makeWhiteout(probe); err != nil {
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, errors.ErrUnsupported) {
			return false, nil
		}
		return false, err
	}
	return true, removeIfThere(probe)
}

// sweep removes the layers that neither the list nor a live capture needs, and
// what an earlier crash left behind. What cannot be removed is noted and tried
// again by the next capture: it is no reason to fail this one.
func (s *Store) sweep(keep []string, stats *Stats) {
	note := func(err error) {
		stats.Notes = append(stats.Notes, fmt.Sprintf("could not remove unused data of earlier captures: %v", err))
	}
	entries, err := os.ReadDir(filepath.Join(s.dir, layersName))
	if err != nil {
		note(err)
	}
	for _, e := range entries {
		if slices.Contains(keep, e.Name()) {
			continue
		}
		if err := s.sweepLayer(e.Name()); err != nil {
			note(err)
		}
	}
	if err := removeIfThere(filepath.Join(s.dir, indexName+tempSuffix)); err != nil {
		note(err)
	}
}

func (s *Store) sweepLayer(name string) error {
	lock, err := os.OpenFile(s.layerPath(name, lockName), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return filetree.Remove(s.layerPath(name))
	}
	if err != nil {
		return err
	}
	free, err := filelock.Try(lock, filelock.Exclusive)
	// Nobody can begin to use it meanwhile: that takes the store's own lock.
	if err = errors.Join(err, lock.Close()); err != nil || !free {
		return err
	}
	return filetree.Remove(s.layerPath(name))
}

// hold takes shared locks on layers.
func (s *Store) hold(ctx context.Context, layers []string) (locks []*os.File, err error) {
	for _, name := range layers {
		lock, err := lockFile(ctx, s.layerPath(name, lockName), filelock.Shared)
		if err != nil {
			return nil, errors.Join(err, closeAll(locks))
		}
		locks = append(locks, lock)
	}
	return locks, nil
}

func closeAll(files []*os.File) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
