//go:build linux

package snapshot

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/internal/filelock"
	"github.com/strata-ci/strata/internal/filetree"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// verdict is how closely this process has looked at a layer.
type verdict struct {
	mu      sync.Mutex // held while it looks
	seen    bool
	depth   runner.CheckDepth // the deepest that found nothing wrong, if seen
	damaged bool
}

func (v *verdict) passed(depth runner.CheckDepth) bool { return v.seen && v.depth >= depth }

// Check looks at a kept snapshot, at each layer once for each depth. If it is
// missing or not whole, the error is an *runner.InfraError of KindSnapshot that
// names the layer. Remove then removes with it all that have this layer.
func (s *Store) Check(ctx context.Context, ref runner.SnapshotRef, depth runner.CheckDepth) error {
	var err error
	if depth == runner.CheckExists {
		err = s.checkExists(ctx, ref)
	} else {
		err = s.checkLayers(ctx, ref, depth)
	}
	var d *damage
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return ctx.Err()
	case errors.As(err, &d) && d.layer != "":
		s.verdictOn(d.layer).damaged = true
	}
	return asSnapshotError("check the snapshot "+string(ref), err)
}

func (s *Store) checkExists(ctx context.Context, ref runner.SnapshotRef) error {
	ids, err := s.layerIDs(ctx, ref)
	if err != nil {
		return err
	}
	for _, id := range ids {
		err := s.once(id, runner.CheckExists, func() error {
			return missing(id, isDir(filepath.Join(s.layersDir(), id)))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func isDir(path string) error {
	info, err := os.Lstat(path)
	if err == nil && !info.IsDir() {
		err = &os.PathError{Op: "open", Path: path, Err: unix.ENOTDIR}
	}
	return err
}

// missing tells that a layer is not there from other errors of looking at it.
func missing(id string, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return &damage{id, "is missing"}
	}
	return err
}

func (s *Store) checkLayers(ctx context.Context, ref runner.SnapshotRef, depth runner.CheckDepth) error {
	chain, err := s.acquireKept(ctx, ref)
	if err != nil {
		return err
	}
	defer s.release(layersOf(chain))
	for _, k := range chain {
		if err := s.once(k.id, depth, func() error { return s.checkLayer(ctx, k, depth) }); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) verdictOn(id string) *verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.checked[id]
	if !ok {
		v = &verdict{}
		s.checked[id] = v
	}
	return v
}

// once looks at a layer unless that was done as closely before.
func (s *Store) once(id string, depth runner.CheckDepth, look func() error) error {
	v := s.verdictOn(id)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.passed(depth) {
		return nil
	}
	if err := look(); err != nil {
		return err
	}
	v.seen, v.depth = true, depth
	return nil
}

func (s *Store) checkLayer(ctx context.Context, k keptLayer, depth runner.CheckDepth) error {
	contents := depth == runner.CheckContents
	whole, err := s.matches(ctx, k.layer, contents, func(sum filetree.Sum) bool {
		return bytes.Equal(sum.Files[:], k.row.files) && (!contents || bytes.Equal(sum.Contents[:], k.row.contents))
	})
	switch {
	case unreadable(err):
		return &damage{k.id, "cannot be read: " + err.Error()}
	case err == nil && !whole:
		return &damage{k.id, "was changed after it was kept"}
	}
	return err
}

// unreadable reports whether an error means that what is on the disk cannot be
// what was written there.
func unreadable(err error) bool {
	return slices.ContainsFunc([]error{unix.EIO, unix.EUCLEAN, unix.EBADMSG, unix.ENOENT, unix.ENOTDIR, unix.ELOOP},
		func(e error) bool { return errors.Is(err, e) })
}

// sum digests a layer that is to be kept.
func (s *Store) sum(ctx context.Context, l *layer) (sum filetree.Sum, err error) {
	_, err = s.matches(ctx, l, true, func(found filetree.Sum) bool {
		sum = found
		return true
	})
	return sum, err
}

// matches reports whether a layer's digest is the wanted one.
//
// A layer may hold what is closed to its owner; then an ordinary user can only
// read it while it is opened up. The digest of such a layer is that of the
// opened one, and other processes may have it open just now.
func (s *Store) matches(ctx context.Context, l *layer, contents bool, want func(filetree.Sum) bool) (bool, error) {
	sum, err := filetree.Digest(ctx, l.dir, contents)
	if err == nil && want(sum) {
		return true, nil
	}
	if os.Geteuid() == 0 || err != nil && !errors.Is(err, fs.ErrPermission) {
		return false, err
	}
	gate, err := filelock.Open(filepath.Join(s.dir, "opened-up"), filelock.Exclusive)
	if err != nil {
		return false, err
	}
	defer gate.Close()
	modes, err := filetree.OpenUp(l.dir)
	if err == nil {
		sum, err = filetree.Digest(ctx, l.dir, contents)
	}
	return err == nil && want(sum), errors.Join(err, closeAgain(l.dir, modes))
}

// closeAgain gives entries their modes back, the deepest first.
func closeAgain(dir string, modes filetree.Modes) error {
	paths := make([]string, 0, len(modes))
	for path := range modes {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	for _, path := range slices.Backward(paths) {
		if err := os.Chmod(filepath.Join(dir, path), modes[path]); err != nil {
			return err
		}
	}
	return nil
}

// keptLayer is a layer with its record.
type keptLayer struct {
	*layer
	row row
}

func layersOf(chain []keptLayer) []*layer {
	layers := make([]*layer, len(chain))
	for i, k := range chain {
		layers[i] = k.layer
	}
	return layers
}

// acquireKept returns the layers of a kept snapshot, topmost first, held
// against removal by others until they are released.
func (s *Store) acquireKept(ctx context.Context, ref runner.SnapshotRef) ([]keptLayer, error) {
	var rows []row
	err := s.db.View(ctx, func(tx *sql.Tx) (err error) {
		rows, err = readRows(ctx, tx, ref)
		return err
	})
	if err != nil {
		return nil, err
	}
	chain, err := s.holdAll(rows)
	if err != nil {
		s.release(layersOf(chain))
		return nil, err
	}
	// What was removed before the layers were held is not recorded any more.
	kept := false
	err = s.db.View(ctx, func(tx *sql.Tx) (err error) {
		kept, err = isKept(ctx, tx, ref)
		return err
	})
	if err == nil && !kept {
		err = errUnknown
	}
	if err != nil {
		s.release(layersOf(chain))
		return nil, err
	}
	return chain, nil
}

// holdAll holds the recorded layers. With an error it returns those that it has.
func (s *Store) holdAll(rows []row) (chain []keptLayer, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range rows {
		l, ok := s.layers[r.id]
		if !ok {
			l = s.layer(r.id)
			l.kept, l.bytes = true, pipeline.Bytes(r.bytes)
			if l.modes, err = decodeModes(r.modes); err != nil {
				return chain, errBadRecord
			}
			held, err := l.hold()
			if err == nil && !held {
				err = errUnknown // it is being removed
			}
			if err != nil {
				return chain, missing(r.id, err)
			}
			s.layers[r.id] = l
		}
		l.users++
		chain = append(chain, keptLayer{l, r})
	}
	return chain, nil
}
