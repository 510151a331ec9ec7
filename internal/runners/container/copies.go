//go:build linux

package container

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/strata-ci/strata/internal/filetree"
	"github.com/strata-ci/strata/internal/rebase"
	"github.com/strata-ci/strata/internal/sandbox"
	"github.com/strata-ci/strata/internal/snapshot"
	"github.com/strata-ci/strata/runner"
)

// copies is the driver for machines without overlayfs. A step has copies of its
// own of the workspace and of what is not the machine's; it sees the machine's
// system directories themselves, and cannot write there.
type copies struct {
	store *snapshot.Store
	image *hostImage
}

// copyFork is the state of a step in copies of its parent's files.
type copyFork struct {
	*snapshot.Copy
	list   []sandbox.Mount
	points []string // mount points made in the root, in order
}

func (d *copies) fork(ctx context.Context, in runner.ExecutorInput, hostPaths []string, _ *seat) (fork, error) {
	c, err := d.store.Copy(ctx, in.Parent, func(c *snapshot.Copy, tree snapshot.Tree, from *snapshot.Parent) error {
		switch {
		case tree == snapshot.Workspace:
			return fillWorkspace(ctx, c, in, from)
		case from != nil:
			return filetree.Copy(ctx, from.Dir, c.Dir(tree), from.Modes)
		}
		// Its whiteouts lie where the machine's directories are mounted.
		return filetree.Copy(ctx, d.image.path, c.Dir(tree), nil)
	})
	if err != nil {
		return nil, err
	}
	f := &copyFork{Copy: c}
	err = f.fill(d.image)
	if err == nil {
		err = f.addPoints(hostPaths)
	}
	if err != nil {
		f.Discard()
		return nil, runner.AsInfra("put the step's root together", err)
	}
	return f, nil
}

// sources is what a snapshot remembers of the capture that its workspace began as.
type sources struct {
	Capture string // its ID, empty for none
	Files   rebase.Baseline
}

// sourcesFile is where it is kept, beside the snapshot's trees.
const sourcesFile = "sources.gob"

// fillWorkspace gives the step its own capture below what its parent changed.
func fillWorkspace(ctx context.Context, c *snapshot.Copy, in runner.ExecutorInput, from *snapshot.Parent) error {
	now, dir := sources{}, c.Dir(snapshot.Workspace)
	if in.Workspace != nil {
		now.Capture = in.Workspace.ID()
	}
	var before sources
	if from != nil {
		var err error
		if before, err = rebase.Load[sources](from.Beside(sourcesFile)); err != nil {
			return &runner.InfraError{Op: "start from the snapshot " + string(in.Parent), Kind: runner.KindSnapshot, Err: err}
		}
		if before.Capture == now.Capture {
			now.Files = before.Files
			return errors.Join(filetree.Copy(ctx, from.Dir, dir, from.Modes), rebase.Save(c.Beside(sourcesFile), now))
		}
	}
	var err error
	if in.Workspace != nil {
		err = in.Workspace.CopyTo(ctx, dir)
	}
	if err == nil {
		now.Files, err = rebase.Describe(dir)
	}
	if err == nil {
		err = rebase.Save(c.Beside(sourcesFile), now)
	}
	if err == nil && from != nil {
		err = before.Files.Apply(ctx, from.Dir, dir, from.Modes)
	}
	return err
}

func (f *copyFork) fill(image *hostImage) error {
	f.list = append(f.list, sandbox.Mount{Target: ".", Source: f.Dir(snapshot.Root)})
	for _, t := range image.trees {
		f.list = append(f.list, sandbox.Mount{Target: t.at, Source: t.lower, ReadOnly: true})
	}
	for _, at := range image.hidden {
		if image.inTree(at) {
			f.list = append(f.list, sandbox.Mount{Target: at, Hide: true})
		}
	}
	for _, at := range image.fresh {
		if !image.inTree(at) {
			continue // it is the copy's own already
		}
		own, err := f.Sub(snapshot.Root, at)
		if err != nil {
			return err
		}
		f.list = append(f.list, sandbox.Mount{Target: at, Source: own})
	}
	f.list = append(f.list, sandbox.Mount{Target: "workspace", Source: f.Dir(snapshot.Workspace)})
	return nil
}

func (f *copyFork) mounts() []sandbox.Mount { return f.list }

func (f *copyFork) surrender([]string) error { return nil }

// Commit takes the mount points away again and commits.
func (f *copyFork) Commit(ref runner.SnapshotRef) error {
	if err := f.removePoints(); err != nil {
		return runner.AsInfra("commit the snapshot "+string(ref), err)
	}
	return f.Copy.Commit(ref)
}

// addPoints makes the given paths of the machine exist in the root. It never
// leaves the root, wherever symbolic links there lead.
func (f *copyFork) addPoints(paths []string) error {
	if len(paths) == 0 {
		return nil
	}
	root, err := os.OpenRoot(f.Dir(snapshot.Root))
	if err != nil {
		return err
	}
	defer root.Close()
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return &runner.InfraError{Op: "make mount points for host_paths", Kind: runner.KindStart, Err: err}
		}
		names := strings.Split(strings.TrimPrefix(p, "/"), "/")
		for i := range names {
			name := filepath.Join(names[:i+1]...)
			if err := makePoint(root, name, info.IsDir() || i < len(names)-1); errors.Is(err, fs.ErrExist) {
				continue
			} else if err != nil {
				return err
			}
			f.points = append(f.points, name)
		}
	}
	return nil
}

func makePoint(root *os.Root, name string, dir bool) error {
	if dir {
		return root.Mkdir(name, 0o755)
	}
	file, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return file.Close()
}

func (f *copyFork) removePoints() error {
	if len(f.points) == 0 {
		return nil
	}
	root, err := os.OpenRoot(f.Dir(snapshot.Root))
	if err != nil {
		return err
	}
	defer root.Close()
	for _, name := range slices.Backward(f.points) {
		// The step may have put something there, or have removed it.
		_ = root.Remove(name)
	}
	return nil
}
