//go:build linux

package container

import (
	"context"
	"errors"

	"github.com/strata-ci/strata/runner"
)

// KeepSnapshots makes snapshots outlive the process. Their parts are layers.
func (r *Runner) KeepSnapshots(ctx context.Context, refs []runner.SnapshotRef) ([]runner.KeptSnapshot, error) {
	return r.store.Keep(ctx, refs)
}

// CheckSnapshot looks at a kept snapshot. It needs no sandbox.
func (r *Runner) CheckSnapshot(ctx context.Context, ref runner.SnapshotRef, depth runner.CheckDepth) error {
	return r.store.Check(ctx, ref, depth)
}

// ReapSnapshots removes snapshots and the layers that only they used. Seats may
// still have them mounted, and with that their disk space, so they end first.
func (r *Runner) ReapSnapshots(_ context.Context, refs []runner.SnapshotRef) error {
	var err error
	if m, ok := r.machine.peek(); ok {
		err = m.seats.close()
	}
	return errors.Join(err, r.store.Remove(refs...))
}

// Sweep removes what no process and no record owns; a full sweep looks at every
// layer: see snapshot.Store.
func (r *Runner) Sweep(ctx context.Context, full bool) error { return r.store.Sweep(ctx, full) }

// KeptSnapshots returns the names of all kept snapshots.
func (r *Runner) KeptSnapshots(ctx context.Context) ([]runner.SnapshotRef, error) {
	return r.store.Kept(ctx)
}
