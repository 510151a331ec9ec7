//go:build linux

package snapshot

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/strata-ci/strata/internal/fault"
	"github.com/strata-ci/strata/internal/filetree"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// Keep makes snapshots outlive this process and a loss of power, and returns
// what they consist of, in the order of refs. Everything is on the disk before
// anything is recorded; the records come in one transaction. Forks of the same
// layers may go on meanwhile. An unknown snapshot is an *runner.InfraError of
// KindSnapshot; with any error, none counts as kept.
func (s *Store) Keep(ctx context.Context, refs []runner.SnapshotRef) ([]runner.KeptSnapshot, error) {
	select { // layers that several have in common are looked at once
	case s.keeping <- struct{}{}:
		defer func() { <-s.keeping }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	chains := make([][]*layer, len(refs))
	for i, ref := range refs {
		chain, err := s.acquire(ref)
		if err != nil {
			return nil, err
		}
		defer s.release(chain)
		chains[i] = chain
	}
	if err := s.keep(ctx, refs, chains); err != nil {
		if cause := ctx.Err(); cause != nil && errors.Is(err, cause) {
			return nil, cause
		}
		return nil, runner.AsInfra("keep snapshots", err)
	}
	kept := make([]runner.KeptSnapshot, len(refs))
	for i, ref := range refs {
		kept[i] = runner.KeptSnapshot{Ref: ref, Parts: s.parts(chains[i])}
	}
	return kept, nil
}

func (s *Store) keep(ctx context.Context, refs []runner.SnapshotRef, chains [][]*layer) error {
	fresh, err := s.holdFresh(chains)
	if err != nil {
		return err
	}
	rows := map[string]row{}
	for _, l := range fresh {
		sum, err := s.sum(ctx, l)
		if err != nil {
			return fmt.Errorf("look at the layer %s: %w", l.id, err)
		}
		rows[l.id] = row{
			id: l.id, bytes: sum.Blocks, files: sum.Files[:], contents: sum.Contents[:], modes: encodeModes(l.modes),
		}
	}
	if err := s.sync(fresh); err != nil {
		return err
	}
	if err := fault.Point("snapshot: record kept snapshots"); err != nil {
		return err
	}
	err = s.db.Update(ctx, func(tx *sql.Tx) error {
		for i, ref := range refs {
			if err := writeSnapshot(ctx, tx, ref, chains[i], rows); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.markKept(refs, fresh, rows)
	return nil
}

// holdFresh returns the layers that are not kept yet, each once, held against
// removal by other processes, which may remove what is recorded.
func (s *Store) holdFresh(chains [][]*layer) ([]*layer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var fresh []*layer
	seen := map[*layer]bool{}
	for _, chain := range chains {
		for _, l := range chain {
			if l.kept || seen[l] {
				continue
			}
			seen[l] = true
			held, err := l.hold()
			if err == nil && !held {
				err = fmt.Errorf("the layer %s is locked by another process", l.id)
			}
			if err != nil {
				return nil, err
			}
			fresh = append(fresh, l)
		}
	}
	return fresh, nil
}

func (s *Store) markKept(refs []runner.SnapshotRef, fresh []*layer, rows map[string]row) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range fresh {
		l.kept, l.bytes = true, pipeline.Bytes(rows[l.id].bytes)
	}
	for _, ref := range refs {
		if own, ok := s.snapshots[ref]; ok {
			own.kept = true
		}
	}
}

func (s *Store) parts(chain []*layer) []runner.SnapshotPart {
	s.mu.Lock()
	defer s.mu.Unlock()
	parts := make([]runner.SnapshotPart, len(chain))
	for i, l := range chain {
		parts[i] = runner.SnapshotPart{ID: l.id, Bytes: l.bytes}
	}
	return parts
}

// few is up to how many entries are synced one by one. Syncing the file system
// instead also writes what others have changed.
const few = 32

// sync brings layers to the disk, and then their names.
func (s *Store) sync(layers []*layer) error {
	if len(layers) == 0 {
		return nil
	}
	if err := fault.Point("snapshot: sync layers"); err != nil {
		return err
	}
	paths, ok := list(layers)
	if !ok {
		return filetree.Sync(s.layersDir())
	}
	for _, p := range append(paths, s.layersDir()) {
		if err := filetree.SyncDir(p); errors.Is(err, fs.ErrPermission) {
			return filetree.Sync(s.layersDir())
		} else if err != nil {
			return err
		}
	}
	return nil
}

// list returns the files and directories of layers, unless there are more than
// a few entries or some cannot be read.
func list(layers []*layer) (paths []string, ok bool) {
	entries := 0
	for _, l := range layers {
		err := filepath.WalkDir(l.dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if entries++; entries > few {
				return fs.SkipAll
			}
			if e.IsDir() || e.Type().IsRegular() {
				paths = append(paths, path)
			}
			return nil
		})
		if err != nil || entries > few {
			return nil, false
		}
	}
	return paths, true
}
