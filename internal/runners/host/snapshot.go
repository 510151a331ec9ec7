package host

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/strata-ci/strata/runner"
)

// record is what a snapshot remembers beside the files. It is kept in gob,
// because a path on Unix is any bytes, which JSON cannot hold.
type record struct {
	// Modes are the modes of the entries that not even their owner may read,
	// by path in the workspace. In the snapshot these entries are readable,
	// so that an ordinary user can copy and remove them.
	Modes map[string]fs.FileMode
}

const recordFile = "snapshot.gob"

func validRef(ref runner.SnapshotRef) bool { return validName(string(ref)) }

// fill puts the step's files into the empty room: the parent's, or else the
// capture's.
func (s state) fill(ctx context.Context, room *room, in runner.ExecutorInput) error {
	if in.Parent != "" {
		return s.fork(ctx, in.Parent, room)
	}
	if in.Workspace == nil {
		return nil
	}
	if err := in.Workspace.CopyTo(ctx, room.workspace()); err != nil {
		return fmt.Errorf("copy the workspace: %w", err)
	}
	return nil
}

// fork copies a snapshot into the room.
func (s state) fork(ctx context.Context, ref runner.SnapshotRef, room *room) error {
	broken := func(err error) error {
		return &runner.InfraError{Op: fmt.Sprintf("start from the snapshot %s", ref), Kind: runner.KindSnapshot, Err: err}
	}
	if !validRef(ref) {
		return broken(fmt.Errorf("there is no snapshot %q", ref))
	}
	dir := s.snapshot(string(ref))
	rec, err := readRecord(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return broken(errors.New("it does not exist any more: run the step that makes it again"))
	}
	if err != nil {
		return broken(err)
	}
	err = copyTree(ctx, filepath.Join(dir, "workspace"), room.workspace(), rec.Modes)
	if errors.Is(err, fs.ErrNotExist) {
		return broken(err) // it was removed while it was copied
	}
	return err
}

// commit makes the room the snapshot of the decision, in place of one with the
// same name. Without an error the room is gone.
func (s state) commit(room *room, decision runner.CacheDecision) error {
	for _, dir := range []string{room.tmp(), room.home()} {
		if err := removeTree(dir); err != nil {
			return err
		}
	}
	modes, err := openUp(room.workspace())
	if err != nil {
		return err
	}
	if err := writeRecord(room.dir, record{Modes: modes}); err != nil {
		return err
	}
	if err := os.MkdirAll(s.snapshots(), 0o755); err != nil {
		return err
	}
	if decision.Ephemeral {
		return s.replace(room, string(decision.Ref))
	}
	if err := syncTree(room.dir); err != nil {
		return err
	}
	if err := s.replace(room, string(decision.Ref)); err != nil {
		return err
	}
	return syncDir(s.snapshots())
}

// replace renames the room to the snapshot and removes what was there.
func (s state) replace(room *room, ref string) error {
	old := room.dir + ".old"
	if err := os.Rename(s.snapshot(ref), old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(room.dir, s.snapshot(ref)); err != nil {
		return err
	}
	return removeTree(old)
}

// reap removes a snapshot, if there is one. It leaves the snapshots first, so
// that nobody finds half of it.
func (s state) reap(ref runner.SnapshotRef) error {
	if !validRef(ref) {
		return nil
	}
	room, err := s.openRoom("reap-" + string(ref))
	if err != nil {
		return err
	}
	err = os.Rename(s.snapshot(string(ref)), filepath.Join(room.dir, "snapshot"))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, room.close())
}

// openUp makes everything below dir accessible to its owner and returns the
// modes that it changed, by path.
func openUp(dir string) (map[string]fs.FileMode, error) {
	modes := map[string]fs.FileMode{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Type() == fs.ModeSymlink {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		need := fs.FileMode(0o400)
		if e.IsDir() {
			need = 0o700
		}
		if info.Mode()&need == need {
			return nil
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		modes[rel] = info.Mode()
		return os.Chmod(path, info.Mode()|need)
	})
	return modes, err
}

func readRecord(dir string) (record, error) {
	var rec record
	f, err := os.Open(filepath.Join(dir, recordFile))
	if err != nil {
		return rec, err
	}
	defer f.Close()
	if err := gob.NewDecoder(f).Decode(&rec); err != nil {
		return rec, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return rec, nil
}

func writeRecord(dir string, rec record) error {
	f, err := os.Create(filepath.Join(dir, recordFile))
	if err != nil {
		return err
	}
	return errors.Join(gob.NewEncoder(f).Encode(rec), f.Close())
}
