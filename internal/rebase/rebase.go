// Package rebase puts what steps changed in an older capture of the workspace on
// top of a newer one, as an overlay would, where files are copied.
//
// In: a directory that a capture was copied to; later, what steps have made of
// it, and a copy of another capture. Out: a description of the first, to be kept
// with the snapshot, and the changes, made in the second. It knows nothing of
// snapshots and runners.
package rebase

import (
	"bufio"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/strata-ci/strata/internal/filetree"
)

// Baseline describes the files of a capture by path, so that later a step's
// changes can be told from its sources without having them.
type Baseline map[string]stamp

// stamp is what tells whether an entry was changed. A directory has only its
// mode: its time changes with its entries, which have stamps of their own.
type stamp struct {
	Mode   fs.FileMode
	Size   int64  // of a regular file
	Time   int64  // of the last change of a file, in nanoseconds since 1970
	Target string // of a symlink
}

func newStamp(path string, info fs.FileInfo) (stamp, error) {
	switch mode := info.Mode(); {
	case mode.IsDir():
		return stamp{Mode: mode}, nil
	case mode&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		return stamp{Mode: mode, Target: target}, err
	default:
		return stamp{Mode: mode, Size: info.Size(), Time: info.ModTime().UnixNano()}, nil
	}
}

// Describe returns the stamps of all that is in dir and can be read.
func Describe(dir string) (Baseline, error) {
	base := Baseline{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrPermission) {
			return fs.SkipDir
		}
		if err != nil || path == dir {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		base[rel], err = newStamp(path, info)
		return err
	})
	return base, err
}

// Apply makes the changes in dst that lead from the tree that base describes to
// the tree src. modes are as in filetree.Copy.
func (base Baseline) Apply(ctx context.Context, src, dst string, modes filetree.Modes) error {
	for rel := range base {
		if err := ctx.Err(); err != nil {
			return err
		}
		_, err := os.Lstat(filepath.Join(src, rel))
		if err == nil {
			continue
		}
		if !filetree.Missing(err) {
			return err
		}
		if err := filetree.Remove(filepath.Join(dst, rel)); err != nil && !filetree.Missing(err) {
			return err
		}
	}
	c := rebaser{ctx: ctx, src: src, dst: dst, modes: modes, copier: filetree.NewCopier(ctx, src, dst, modes), base: base}
	return c.changesIn(".")
}

// rebaser copies what differs from a baseline.
type rebaser struct {
	ctx      context.Context
	src, dst string
	modes    filetree.Modes
	copier   *filetree.Copier
	base     Baseline
}

func (r rebaser) changesIn(dir string) error {
	entries, err := os.ReadDir(filepath.Join(r.src, dir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if err := r.changesAt(filepath.Join(dir, e.Name()), info); err != nil {
			return err
		}
	}
	return nil
}

// changesAt copies the entry rel if it was made or changed, and what was changed
// below it.
func (r rebaser) changesAt(rel string, info fs.FileInfo) error {
	now, err := newStamp(filepath.Join(r.src, rel), info)
	if err != nil {
		return err
	}
	if mode, ok := r.modes[rel]; ok {
		now.Mode = mode
	}
	old, known := r.base[rel]
	dst := filepath.Join(r.dst, rel)
	if info.IsDir() && (known && old.Mode.IsDir() || isDir(dst)) {
		return r.directory(rel, now.Mode, !known || now != old)
	}
	if known && now == old {
		return nil
	}
	if err := r.makeDir(filepath.Dir(rel)); err != nil {
		return err
	}
	if err := filetree.Remove(dst); err != nil {
		return err
	}
	return r.copier.Entry(rel, info)
}

// directory makes the changes below a directory that both trees may have.
func (r rebaser) directory(rel string, mode fs.FileMode, changed bool) error {
	if !changed {
		return r.changesIn(rel)
	}
	if err := r.makeDir(rel); err != nil {
		return err
	}
	if err := r.changesIn(rel); err != nil {
		return err
	}
	// Last, because the mode may forbid to change what is in there.
	return os.Chmod(filepath.Join(r.dst, rel), mode)
}

// makeDir makes the directory rel, which src has, also where dst has something
// else or the new capture does not know it any more.
func (r rebaser) makeDir(rel string) error {
	dst := filepath.Join(r.dst, rel)
	if rel == "." || isDir(dst) {
		return nil
	}
	if err := r.makeDir(filepath.Dir(rel)); err != nil {
		return err
	}
	if err := filetree.Remove(dst); err != nil {
		return err
	}
	info, err := os.Lstat(filepath.Join(r.src, rel))
	if err != nil {
		return err
	}
	if err := os.Mkdir(dst, 0o700); err != nil {
		return err
	}
	return os.Chmod(dst, info.Mode())
}

func isDir(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}

// Save writes what a snapshot has to remember beside its files to a new file. It
// is gob, because a path on Unix is any bytes, which JSON cannot hold.
func Save[T any](path string, v T) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	return errors.Join(gob.NewEncoder(w).Encode(v), w.Flush(), f.Close())
}

// Load reads what Save wrote.
func Load[T any](path string) (v T, err error) {
	f, err := os.Open(path)
	if err != nil {
		return v, err
	}
	defer f.Close()
	if err := gob.NewDecoder(bufio.NewReader(f)).Decode(&v); err != nil {
		return v, fmt.Errorf("read %s: %w", path, err)
	}
	return v, nil
}
