//go:build linux

package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/internal/filetree"
	"github.com/strata-ci/strata/internal/sandbox"
	"github.com/strata-ci/strata/internal/snapshot"
	"github.com/strata-ci/strata/runner"
)

// driver makes the states of steps from their parents'.
type driver interface {
	// fork prepares what a step sees that is to run in the seat.
	fork(ctx context.Context, in runner.ExecutorInput, hostPaths []string, seat *seat) (fork, error)
}

// fork is the state of one step. It ends with Commit or Discard; Discard after
// either does nothing.
type fork interface {
	// mounts put the step's root together, the root itself first.
	mounts() []sandbox.Mount
	// surrender hands over what the step has changed of what its seat keeps.
	surrender(changed []string) error
	Commit(ref runner.SnapshotRef) error
	Discard()
}

// Driver tells how a runner forks a step from its parent.
type Driver struct {
	// Name is "overlay", whose forks cost the same for every size of the parent,
	// or "copies", whose forks copy the parent's files.
	Name string
	// Reason is why it is not "overlay", and Fix is what to change on the
	// machine; both are empty otherwise.
	Reason, Fix string
}

// The names of drivers.
const (
	driverOverlay = "overlay"
	driverCopies  = "copies"
)

// tryOverlay finds out by mounting one whether this machine can stack layers in
// dir, which lies in the runner's state, over the image. The error is a fault of anything else.
func tryOverlay(cell *sandbox.Cell, dir, state string, image *hostImage) (Driver, error) {
	if image.unstackable != nil {
		return copiesBecause(image.unstackable, state), nil
	}
	lowers, err := oneOfEach(append([]string{image.path}, image.lowers()...))
	if err != nil {
		return Driver{}, fmt.Errorf("look at this machine's file systems: %w", err)
	}
	o, err := snapshot.NewOverlay(filepath.Join(dir, "try"), snapshot.Root, ".", lowers)
	if err != nil {
		return Driver{}, err
	}
	mountErr := cell.TryMount(sandbox.Mount{Target: o.At, Lowers: o.Lowers, Upper: o.Upper, Work: o.Work})
	if err := errors.Join(filetree.Remove(o.Upper), filetree.Remove(o.Work)); err != nil {
		return Driver{}, fmt.Errorf("remove what was tried: %w", err)
	}
	switch {
	case mountErr == nil:
		return Driver{Name: driverOverlay}, nil
	case errors.Is(mountErr, sandbox.ErrLost), runner.IsDiskFull(mountErr):
		return Driver{}, mountErr
	}
	return copiesBecause(mountErr, state), nil
}

func copiesBecause(err error, state string) Driver {
	d := Driver{Name: driverCopies}
	d.Reason, d.Fix = explain(err, state)
	return d
}

// explain says why an overlay could not be mounted in dir, and what to change.
func explain(err error, dir string) (reason, fix string) {
	switch {
	case errors.Is(err, unix.ENODEV):
		return "this kernel has no overlayfs", "load it: sudo modprobe overlay"
	case fileSystem(dir) == "overlay": // which refuses what its own layers need with many errors
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return "this machine does not let a sandbox mount overlayfs",
			"use Linux 5.13 or newer, and no security policy (AppArmor, SELinux, the container around Strata) that forbids it"
	}
	cause := err
	var errno unix.Errno
	if errors.As(err, &errno) {
		cause = errno
	}
	return fmt.Sprintf("overlayfs does not work on the file system of %s (%s): %v", dir, fileSystem(dir), cause),
		"set STRATA_HOME to a directory on ext4, XFS, Btrfs or tmpfs"
}

// fileSystem names the type of a directory's file system.
func fileSystem(dir string) string {
	mounts, err := mountinfo.GetMounts(mountinfo.ParentsFilter(dir))
	if err != nil || len(mounts) == 0 {
		return "of unknown type"
	}
	last := mounts[0]
	for _, m := range mounts {
		if len(m.Mountpoint) >= len(last.Mountpoint) {
			last = m
		}
	}
	return last.FSType
}

// oneOfEach returns the first directory of each file system: what one can do,
// the others can.
func oneOfEach(dirs []string) ([]string, error) {
	var chosen []string
	seen := map[uint64]bool{}
	for _, dir := range dirs {
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err != nil {
			return nil, &os.PathError{Op: "stat", Path: dir, Err: err}
		}
		if !seen[st.Dev] {
			seen[st.Dev] = true
			chosen = append(chosen, dir)
		}
	}
	return chosen, nil
}

// below reports whether a clean path lies in dir or is dir.
func below(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }
