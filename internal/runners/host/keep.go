package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/strata-ci/strata/internal/fault"
	"github.com/strata-ci/strata/internal/filetree"
	"github.com/strata-ci/strata/internal/rebase"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// seal makes a snapshot a kept one. It is written when all else is on the disk.
type seal struct {
	Bytes    int64  // of disk blocks
	Files    []byte // digest of what lstat tells of all that it describes
	Contents []byte // digest of everything
}

const sealFile = "kept.gob"

// sealed are the files of a snapshot that a seal describes beside the workspace.
var sealed = []string{recordFile, baselineFile}

// KeepSnapshots writes the snapshots to the disk and seals them. Each consists
// of one part. See [runner.SnapshotKeeper].
func (r *Runner) KeepSnapshots(ctx context.Context, refs []runner.SnapshotRef) ([]runner.KeptSnapshot, error) {
	kept := make([]runner.KeptSnapshot, len(refs))
	var fresh []string // sealed by this call
	for i, ref := range refs {
		s, isNew, err := r.state.keep(ctx, ref)
		if isNew {
			fresh = append(fresh, string(ref))
		}
		if err != nil {
			return nil, errors.Join(err, r.state.unseal(fresh))
		}
		kept[i] = runner.KeptSnapshot{Ref: ref, Parts: []runner.SnapshotPart{{ID: string(ref), Bytes: pipeline.Bytes(s.Bytes)}}}
	}
	for _, ref := range fresh {
		if err := r.owner.remove(ref); err != nil {
			return nil, errors.Join(runner.AsInfra("keep the snapshot "+ref, err), r.state.unseal(fresh))
		}
	}
	return kept, nil
}

// keep seals a snapshot if that has not been done, and reports whether it has
// begun to write the seal.
func (s state) keep(ctx context.Context, ref runner.SnapshotRef) (made seal, isNew bool, err error) {
	made, err = s.readSeal("keep", ref)
	if err == nil || !errors.Is(err, errNotKept) {
		return made, false, err
	}
	dir := s.snapshot(string(ref))
	if made, err = sealOf(ctx, dir, true); err == nil {
		err = filetree.Sync(dir)
	}
	if err != nil {
		return seal{}, false, unusable(ctx, "keep", ref, err)
	}
	if err := s.writeSeal(dir, made); err != nil {
		return seal{}, true, unusable(ctx, "keep", ref, err)
	}
	return made, true, nil
}

// writeSeal writes the seal to the disk, and the names of all that leads to it.
func (s state) writeSeal(dir string, made seal) error {
	temporary := filepath.Join(dir, sealFile+".new")
	if err := errors.Join(fault.Point("host: write a seal"), rebase.Save(filepath.Join(dir, sealFile+".new"), made)); err != nil {
		return err
	}
	if err := filetree.SyncFile(temporary); err != nil {
		return err
	}
	if err := os.Rename(temporary, filepath.Join(dir, sealFile)); err != nil {
		return err
	}
	for _, above := range []string{dir, s.snapshots(), s.dir, filepath.Dir(s.dir)} {
		if err := filetree.SyncDir(above); err != nil {
			return err
		}
	}
	return fault.Point("host: sealed")
}

// unseal makes snapshots ephemeral again.
func (s state) unseal(refs []string) error {
	var errs []error
	for _, ref := range refs {
		err := os.Remove(filepath.Join(s.snapshot(ref), sealFile))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// kept reports whether there is a snapshot of that name that is kept.
func (s state) kept(ref string) (bool, error) {
	_, err := os.Lstat(filepath.Join(s.snapshot(ref), sealFile))
	if filetree.Missing(err) {
		return false, nil
	}
	return err == nil, err
}

var errNotKept = errors.New("it was never kept")

// readSeal reads the seal of a snapshot. If there is none, the error is
// errNotKept, or says that there is no snapshot.
func (s state) readSeal(op string, ref runner.SnapshotRef) (seal, error) {
	if !validRef(ref) {
		return seal{}, broken(op, ref, fmt.Errorf("there is no snapshot %q", ref))
	}
	dir := s.snapshot(string(ref))
	made, err := rebase.Load[seal](filepath.Join(dir, sealFile))
	if err == nil {
		return made, nil
	}
	if !filetree.Missing(err) {
		return seal{}, broken(op, ref, err)
	}
	if _, err := os.Lstat(dir); err != nil {
		return seal{}, broken(op, ref, errGone)
	}
	return seal{}, broken(op, ref, errNotKept)
}

// CheckSnapshot compares a kept snapshot with what its seal says of it. See
// [runner.SnapshotChecker].
func (r *Runner) CheckSnapshot(ctx context.Context, ref runner.SnapshotRef, depth runner.CheckDepth) error {
	const op = "check"
	want, err := r.state.readSeal(op, ref)
	if err != nil {
		return err
	}
	dir := r.state.snapshot(string(ref))
	got := want
	if depth == runner.CheckExists {
		err = exists(dir)
	} else {
		got, err = sealOf(ctx, dir, depth == runner.CheckContents)
	}
	switch {
	case err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return err
	case err != nil:
		return broken(op, ref, fmt.Errorf("it is not whole: %w", err))
	case !bytes.Equal(got.Files, want.Files):
		return broken(op, ref, fmt.Errorf("a file in %s was added, removed or written to since it was kept", dir))
	case depth == runner.CheckContents && !bytes.Equal(got.Contents, want.Contents):
		return broken(op, ref, fmt.Errorf("contents of a file in %s are not as they were when it was kept", dir))
	}
	return nil
}

// exists returns an error if the snapshot in dir lacks something at first sight.
func exists(dir string) error {
	for _, name := range append([]string{"workspace"}, sealed...) {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// unusable says of an error in reading a snapshot what it means: that the
// context ended, that the snapshot is gone, or that the machine failed.
func unusable(ctx context.Context, op string, ref runner.SnapshotRef, err error) error {
	switch {
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return ctx.Err()
	case filetree.Missing(err):
		return broken(op, ref, err)
	}
	return runner.AsInfra(fmt.Sprintf("%s the snapshot %s", op, ref), err)
}

// sealOf describes the snapshot in dir as it is now. Without contents it reads
// none of its files.
func sealOf(ctx context.Context, dir string, contents bool) (seal, error) {
	sum, err := filetree.Digest(ctx, filepath.Join(dir, "workspace"), contents)
	if err != nil {
		return seal{}, err
	}
	files, all := sha256.New(), sha256.New()
	files.Write(sum.Files[:])
	all.Write(sum.Contents[:])
	made := seal{Bytes: sum.Blocks}
	for _, name := range sealed {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			return seal{}, err
		}
		made.Bytes += info.Size()
		for _, n := range []int64{info.Size(), info.ModTime().UnixNano()} {
			files.Write(binary.BigEndian.AppendUint64(nil, uint64(n)))
		}
		if contents {
			if err := addContents(all, filepath.Join(dir, name)); err != nil {
				return seal{}, err
			}
		}
	}
	made.Files = files.Sum(nil)
	if contents {
		made.Contents = all.Sum(nil)
	}
	return made, nil
}

func addContents(w io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// KeptSnapshots returns the names of all kept snapshots.
func (r *Runner) KeptSnapshots(ctx context.Context) ([]runner.SnapshotRef, error) {
	entries, err := os.ReadDir(r.state.snapshots())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var refs []runner.SnapshotRef
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		kept, err := r.state.kept(e.Name())
		if err != nil {
			return nil, err
		}
		if kept {
			refs = append(refs, runner.SnapshotRef(e.Name()))
		}
	}
	return refs, nil
}
