//go:build linux

package container

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"

	"github.com/strata-ci/strata/internal/sandbox"
	"github.com/strata-ci/strata/internal/snapshot"
	"github.com/strata-ci/strata/runner"
)

// overlays is the driver that stacks layers with overlayfs.
type overlays struct {
	store *snapshot.Store
	image *hostImage
	// points is where directories with mount points are made.
	points string
}

// overlayFork is the state of a step over its parent's layers.
type overlayFork struct {
	*snapshot.Fork
	seat *seat
	list []sandbox.Mount
}

func (d *overlays) fork(_ context.Context, in runner.ExecutorInput, hostPaths []string, seat *seat) (fork, error) {
	sf, err := d.store.Fork(in.Parent)
	if err != nil {
		return nil, err
	}
	f := &overlayFork{Fork: sf, seat: seat}
	if err := d.fill(f, in, hostPaths); err != nil {
		f.Discard()
		return nil, err
	}
	return f, nil
}

func (d *overlays) fill(f *overlayFork, in runner.ExecutorInput, hostPaths []string) error {
	base := []string{d.image.path}
	if len(hostPaths) > 0 {
		points, err := d.mountPoints(hostPaths)
		if err != nil {
			return err
		}
		base = []string{points, d.image.path}
	}
	if err := f.add(snapshot.Root, ".", base...); err != nil {
		return err
	}
	for _, t := range d.image.trees {
		if err := f.add(snapshot.Root, t.at, filepath.Join(d.image.path, t.at), t.lower); err != nil {
			return err
		}
	}
	var capture []string
	if in.Workspace != nil {
		capture = in.Workspace.Layers()
	}
	return f.add(snapshot.Workspace, ".", capture...)
}

func (f *overlayFork) mounts() []sandbox.Mount { return f.list }

func (f *overlayFork) surrender(changed []string) error { return f.seat.surrender(changed, f.Fork) }

// add mounts a place of a tree, over base: by the seat's own overlay where that
// is the same.
func (f *overlayFork) add(tree snapshot.Tree, at string, base ...string) error {
	lowers, err := f.Lowers(tree, at, base...)
	if err != nil {
		return err
	}
	o, err := f.seat.overlay(tree, at, lowers)
	if err != nil {
		return err
	}
	target := at
	if tree == snapshot.Workspace {
		target = filepath.Join("workspace", at)
	}
	f.list = append(f.list, sandbox.Mount{Target: target, Lowers: o.Lowers, Upper: o.Upper, Work: o.Work, Keep: keepName(tree, at)})
	return nil
}

// keepName makes one path element of a place in a tree.
func keepName(tree snapshot.Tree, at string) string {
	return string(tree) + "%" + strings.ReplaceAll(strings.ReplaceAll(at, "%", "%25"), "/", "%2F")
}

// mountPoints returns a lower directory in which the given paths of the machine
// exist, so that mounting them leaves no trace in the step's layer.
func (d *overlays) mountPoints(paths []string) (string, error) {
	const op = "make mount points for host_paths"
	sum := sha256.Sum256([]byte(strings.Join(paths, "\x00")))
	dir := filepath.Join(d.points, hex.EncodeToString(sum[:]))
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return "", &runner.InfraError{Op: op, Kind: runner.KindStart, Err: err}
		}
		point := filepath.Join(dir, p)
		if info.IsDir() {
			err = os.MkdirAll(point, 0o755)
		} else if err = os.MkdirAll(filepath.Dir(point), 0o755); err == nil {
			err = os.WriteFile(point, nil, 0o644)
		}
		if err != nil {
			return "", runner.AsInfra(op, err)
		}
	}
	return dir, nil
}
