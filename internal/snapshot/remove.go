//go:build linux

package snapshot

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/strata-ci/strata/internal/fault"
	"github.com/strata-ci/strata/internal/filelock"
	"github.com/strata-ci/strata/internal/filetree"
	"github.com/strata-ci/strata/runner"
)

// A kept layer is removed in three steps, each of which a kill leaves in a state
// that the next sweep goes on from. A transaction removes the records of the
// snapshots and dooms the layers that no other one has. A doomed layer that no
// process holds is removed, while it is locked. Then its own record goes. One
// that a process holds stays doomed until a later sweep. None of this needs
// space on the disk but what SQLite may: it has to work when there is none.

// Remove removes snapshots, whoever made them, and the layers that no other
// snapshot and no fork needs, and returns when the disk is free of them. With a
// snapshot in which [Store.Check] found a damaged layer go all that have this
// layer. Names that do not exist are no error.
func (s *Store) Remove(refs ...runner.SnapshotRef) error {
	err := s.removeKept(context.Background(), s.forget(refs))
	if err != nil {
		err = runner.AsInfra("remove kept snapshots", err)
	}
	return errors.Join(err, s.Wait())
}

// forget removes this process's own snapshots, and returns those refs that may
// be recorded.
func (s *Store) forget(refs []runner.SnapshotRef) (recorded []runner.SnapshotRef) {
	var layers []*layer
	s.mu.Lock()
	for _, ref := range refs {
		own, ok := s.snapshots[ref]
		if ok {
			layers = append(layers, own.chain...)
			delete(s.snapshots, ref)
		}
		if !ok || own.kept {
			recorded = append(recorded, ref)
		}
	}
	s.mu.Unlock()
	s.release(layers)
	return recorded
}

func (s *Store) removeKept(ctx context.Context, refs []runner.SnapshotRef) error {
	refs, err := s.recorded(ctx, refs)
	if err != nil || len(refs) == 0 {
		return err
	}
	if err := fault.Point("snapshot: drop records"); err != nil {
		return err
	}
	// On the disk before anything is removed, so that no record is without data.
	err = s.db.UpdateDurable(ctx, func(tx *sql.Tx) error {
		for _, ref := range refs {
			if err := dropSnapshot(ctx, tx, ref); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.removeDoomed(ctx)
}

// recorded returns those of the refs that are recorded, and those that have a
// damaged layer in common with them.
func (s *Store) recorded(ctx context.Context, refs []runner.SnapshotRef) (found []runner.SnapshotRef, err error) {
	if len(refs) == 0 {
		return nil, nil
	}
	err = s.db.View(ctx, func(tx *sql.Tx) error {
		for _, ref := range refs {
			kept, err := isKept(ctx, tx, ref)
			if err != nil {
				return err
			}
			if !kept {
				continue
			}
			found = append(found, ref)
			others, err := s.sharingDamage(ctx, tx, ref)
			if err != nil {
				return err
			}
			found = append(found, others...)
		}
		return nil
	})
	return found, err
}

func (s *Store) sharingDamage(ctx context.Context, tx *sql.Tx, ref runner.SnapshotRef) (others []runner.SnapshotRef, err error) {
	damaged := s.damaged()
	if len(damaged) == 0 {
		return nil, nil
	}
	layers, err := column(ctx, tx, `SELECT layer FROM snapshot_layers WHERE ref = ?`, string(ref))
	if err != nil {
		return nil, err
	}
	for _, id := range layers {
		if !damaged[id] {
			continue
		}
		names, err := column(ctx, tx, `SELECT ref FROM snapshot_layers WHERE layer = ?`, id)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			others = append(others, runner.SnapshotRef(name))
		}
	}
	return others, nil
}

func (s *Store) damaged() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := map[string]bool{}
	for id, v := range s.checked {
		if v.damaged {
			found[id] = true
		}
	}
	return found
}

// removeDoomed removes the layers that no snapshot has and no process holds.
func (s *Store) removeDoomed(ctx context.Context) error {
	var doomed []string
	err := s.db.View(ctx, func(tx *sql.Tx) (err error) {
		doomed, err = column(ctx, tx, `SELECT id FROM layers WHERE doomed = 1`)
		return err
	})
	if err != nil || len(doomed) == 0 {
		return err
	}
	var gone []string
	var errs []error
	for _, id := range doomed {
		free, err := s.removeLayer(ctx, id)
		if errs = append(errs, err); free {
			gone = append(gone, id)
		}
	}
	return errors.Join(append(errs, s.dropLayers(ctx, gone))...)
}

// dropLayers removes the records of layers that are removed.
func (s *Store) dropLayers(ctx context.Context, ids []string) error {
	if err := fault.Point("snapshot: drop records of layers"); err != nil {
		return err
	}
	return s.db.Update(ctx, func(tx *sql.Tx) error {
		for _, id := range ids {
			if err := execAll(ctx, tx, id, `DELETE FROM layers WHERE id = ? AND doomed = 1`); err != nil {
				return err
			}
		}
		return nil
	})
}

// removeLayer removes a doomed layer's directory and reports whether it is gone.
// It is not if a process holds it, or a snapshot has it again.
func (s *Store) removeLayer(ctx context.Context, id string) (gone bool, err error) {
	if !validID(id) {
		return true, nil // no layer was ever called so
	}
	dir := filepath.Join(s.layersDir(), id)
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	if free, err := filelock.Try(f, filelock.Exclusive); err != nil || !free {
		return false, err
	}
	doomed := false
	err = s.db.View(ctx, func(tx *sql.Tx) (err error) {
		doomed, err = has(ctx, tx, `SELECT 1 FROM layers WHERE id = ? AND doomed = 1`, id)
		return err
	})
	if err != nil || !doomed {
		return false, err
	}
	if err := fault.Point("snapshot: remove a layer"); err != nil {
		return false, err
	}
	if err := filetree.Remove(dir); err != nil {
		return false, err
	}
	return true, nil
}
