//go:build linux

package snapshot

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/strata-ci/strata/internal/fault"
	"github.com/strata-ci/strata/internal/filetree"
	"github.com/strata-ci/strata/runner"
)

// Sweep removes what no living process and no record owns: the directories of
// dead processes, and doomed layers. A full one also looks at every layer. It
// removes those on the disk that nobody owns, as a loss of power may leave them,
// and drops the records of snapshots whose layers are missing.
func (s *Store) Sweep(ctx context.Context, full bool) error {
	err := s.sweepDead()
	if err == nil && full {
		err = s.sweepAll(ctx)
	}
	if err == nil {
		err = s.removeDoomed(ctx)
	}
	if err != nil {
		return errors.Join(runner.AsInfra("remove what nobody owns", err), s.Wait())
	}
	return s.Wait()
}

// sweepAtOpen is a full sweep after another boot, or where the records tell of
// what happened to them: else killed processes are all that there was.
func (s *Store) sweepAtOpen() error {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	now := fault.Boot(strings.TrimSpace(string(boot)))
	file := filepath.Join(s.dir, "boot")
	if last, err := os.ReadFile(file); err == nil && string(last) == now && len(s.db.Notes()) == 0 {
		if err := s.sweepDead(); err != nil {
			return err
		}
		return s.removeDoomed(context.Background())
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	if err := s.Sweep(context.Background(), true); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(now), 0o600) // half of it is another boot's
}

func (s *Store) sweepAll(ctx context.Context) error {
	if err := s.sweepOrphans(); err != nil {
		return err
	}
	var recorded []string
	err := s.db.View(ctx, func(tx *sql.Tx) (err error) {
		recorded, err = column(ctx, tx, `SELECT id FROM layers WHERE doomed = 0`)
		return err
	})
	if err != nil {
		return err
	}
	var gone []string
	for _, id := range recorded {
		if !validID(id) || errors.Is(isDir(filepath.Join(s.layersDir(), id)), fs.ErrNotExist) {
			gone = append(gone, id)
		}
	}
	return s.db.UpdateDurable(ctx, func(tx *sql.Tx) error {
		for _, id := range gone {
			refs, err := column(ctx, tx, `SELECT ref FROM snapshot_layers WHERE layer = ?`, id)
			if err != nil {
				return err
			}
			for _, ref := range refs {
				if err := dropSnapshot(ctx, tx, runner.SnapshotRef(ref)); err != nil {
					return err
				}
			}
		}
		_, err := tx.ExecContext(ctx, `
			UPDATE layers SET doomed = 1 WHERE doomed = 0
			AND NOT EXISTS (SELECT 1 FROM snapshot_layers WHERE layer = layers.id)`)
		return err
	})
}

var layerName = regexp.MustCompile(`^([a-z0-9]+)\.[0-9]+$`)

// sweepOrphans removes the layers without a record whose process is gone: its
// directory, which exists before any layer and after all of them, was swept.
func (s *Store) sweepOrphans() error {
	entries, err := os.ReadDir(s.layersDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	gate, err := openGate(s.liveDir())
	if err != nil {
		return err
	}
	defer gate.Close()
	for _, e := range entries {
		name := layerName.FindStringSubmatch(e.Name())
		if name == nil {
			continue
		}
		_, err := os.Lstat(filepath.Join(s.liveDir(), livePrefix+name[1]))
		if errors.Is(err, fs.ErrNotExist) {
			err = s.removeUnrecorded(e.Name())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// removeUnrecorded removes a layer of a dead process, unless it is kept.
func (s *Store) removeUnrecorded(id string) error {
	ctx := context.Background()
	kept := false
	err := s.db.View(ctx, func(tx *sql.Tx) (err error) {
		kept, err = has(ctx, tx, `SELECT 1 FROM layers WHERE id = ?`, id)
		return err
	})
	if err != nil || kept {
		return err
	}
	if err := fault.Point("snapshot: remove a layer that nobody owns"); err != nil {
		return err
	}
	return filetree.Remove(filepath.Join(s.layersDir(), id))
}
