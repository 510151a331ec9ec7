package host

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/strata-ci/strata/internal/fault"
	"github.com/strata-ci/strata/internal/filetree"
	"github.com/strata-ci/strata/internal/rebase"
	"github.com/strata-ci/strata/runner"
)

// record is what a snapshot remembers beside the files.
type record struct {
	// Capture is the ID of the capture that the files come from; "" for none.
	Capture string
	// Modes are the modes of the entries that not even their owner may read,
	// by path in the workspace. In the snapshot these entries are readable,
	// so that an ordinary user can copy and remove them.
	Modes filetree.Modes
}

const (
	recordFile = "snapshot.gob"
	// baselineFile describes the capture, for a child with a newer one. It is
	// apart from the record because it is large and seldom read.
	baselineFile = "baseline.gob"
)

func validRef(ref runner.SnapshotRef) bool { return validName(string(ref)) }

func captureID(w runner.Workspace) string {
	if w == nil {
		return ""
	}
	return w.ID()
}

// fill puts the step's files into the empty room, and what a snapshot of them
// has to remember of their capture. It returns the capture's ID.
func (s state) fill(ctx context.Context, room *room, in runner.ExecutorInput) (string, error) {
	id := captureID(in.Workspace)
	if in.Parent == "" {
		return id, copyCapture(ctx, room, in)
	}
	broken := func(err error) error { return broken("start from", in.Parent, err) }
	if !validRef(in.Parent) {
		return "", broken(fmt.Errorf("there is no snapshot %q", in.Parent))
	}
	parent := s.snapshot(string(in.Parent))
	rec, err := rebase.Load[record](filepath.Join(parent, recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", broken(errGone)
	}
	if err != nil {
		return "", broken(err)
	}
	if rec.Capture == id {
		err = fork(ctx, parent, rec, room)
	} else {
		err = putOnTop(ctx, parent, rec, room, in)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", broken(err) // it was removed while it was copied
	}
	return id, err
}

// broken is the error for a snapshot that cannot be used.
func broken(op string, ref runner.SnapshotRef, err error) error {
	return &runner.InfraError{Op: fmt.Sprintf("%s the snapshot %s", op, ref), Kind: runner.KindSnapshot, Err: err}
}

var errGone = errors.New("it does not exist any more: run the step that makes it again")

// copyCapture copies the capture and, for a step that commits, describes it.
func copyCapture(ctx context.Context, room *room, in runner.ExecutorInput) error {
	if in.Workspace != nil {
		if err := in.Workspace.CopyTo(ctx, room.workspace()); err != nil {
			return fmt.Errorf("copy the workspace: %w", err)
		}
	}
	if !mayCommit(in.Cache) {
		return nil
	}
	base, err := rebase.Describe(room.workspace())
	if err != nil {
		return err
	}
	return rebase.Save(filepath.Join(room.dir, baselineFile), base)
}

// fork copies a snapshot into the room.
func fork(ctx context.Context, parent string, rec record, room *room) error {
	if err := filetree.Copy(ctx, filepath.Join(parent, "workspace"), room.workspace(), rec.Modes); err != nil {
		return err
	}
	// The description never changes, so that all children can share the file.
	if err := os.Link(filepath.Join(parent, baselineFile), filepath.Join(room.dir, baselineFile)); err == nil {
		return nil
	}
	return filetree.CopyFile(filepath.Join(parent, baselineFile), filepath.Join(room.dir, baselineFile))
}

// putOnTop copies the step's own capture into the room and puts on top what the
// parent has changed in its capture, as an overlay would.
func putOnTop(ctx context.Context, parent string, rec record, room *room, in runner.ExecutorInput) error {
	if err := copyCapture(ctx, room, in); err != nil {
		return err
	}
	old, err := rebase.Load[rebase.Baseline](filepath.Join(parent, baselineFile))
	if err != nil {
		return err
	}
	return old.Apply(ctx, filepath.Join(parent, "workspace"), room.workspace(), rec.Modes)
}

// commit makes the room the snapshot ref, in place of one with the same name.
// Without an error the room is gone.
func (s state) commit(room *room, capture string, ref runner.SnapshotRef) error {
	for _, dir := range []string{room.tmp(), room.home()} {
		if err := filetree.Remove(dir); err != nil {
			return err
		}
	}
	modes, err := filetree.OpenUp(room.workspace())
	if err != nil {
		return err
	}
	if err := rebase.Save(filepath.Join(room.dir, recordFile), record{Capture: capture, Modes: modes}); err != nil {
		return err
	}
	if err := os.MkdirAll(s.snapshots(), 0o755); err != nil {
		return err
	}
	return s.replace(room, string(ref))
}

// replace renames the room to the snapshot and removes what was there.
func (s state) replace(room *room, ref string) error {
	old := room.dir + ".old"
	if err := os.Rename(s.snapshot(ref), old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := errors.Join(fault.Point("host: commit"), os.Rename(room.dir, s.snapshot(ref))); err != nil {
		return err
	}
	return filetree.Remove(old)
}

// reap removes a snapshot, if there is one. It leaves the snapshots first, so
// that nobody finds half of it: who copies it at the moment misses the rest.
func (s state) reap(ref runner.SnapshotRef) error {
	if !validRef(ref) {
		return nil
	}
	dir := s.snapshot(string(ref))
	if _, err := os.Lstat(dir); filetree.Missing(err) {
		return nil
	}
	room, err := s.open(filepath.Join(s.steps(), "reap-"+rand.Text()), (*room).mkdir)
	if err != nil {
		return err
	}
	if err = fault.Point("host: reap"); err == nil {
		err = os.Rename(dir, filepath.Join(room.dir, "snapshot"))
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, room.close())
}
