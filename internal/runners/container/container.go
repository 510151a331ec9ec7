//go:build linux

package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/strata-ci/strata/internal/image"
	"github.com/strata-ci/strata/internal/sandbox"
	"github.com/strata-ci/strata/internal/snapshot"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// DefaultGrace is how long a cancelled step may take to end by itself. Docker's
// default for `docker stop` is the same.
const DefaultGrace = 10 * time.Second

// Options says where a runner keeps its things.
type Options struct {
	// StateDir is a directory of the runner's own.
	StateDir string
	// Private are absolute paths that no step may see, such as the user's home
	// and Strata's own state.
	Private []string
	// Digests remember what was read of the machine: see image.Host. nil reads
	// it anew.
	Digests image.Digests
	// Grace is how long a cancelled step may take to end; 0 is DefaultGrace.
	Grace time.Duration
	// ForceCopy makes the runner copy files also where overlays work.
	ForceCopy bool
}

// Runner is the container runner. It implements runner.StepRunner,
// runner.SnapshotReaper, runner.SnapshotSharer, runner.StepValidator and io.Closer.
type Runner struct {
	live  *live
	store *snapshot.Store
	image *hostImage
	seats *seats
	limit limiter

	driver  driver
	choice  Driver
	grace   time.Duration
	digests image.Digests
}

// New returns a runner, after it has found out by starting a sandbox that this
// machine can run it. The error says what stands in the way.
func New(opts Options) (*Runner, error) {
	live, err := openLive(filepath.Join(opts.StateDir, "live"))
	if err != nil {
		return nil, fmt.Errorf("open the container runner's state: %w", err)
	}
	r := &Runner{live: live, grace: opts.Grace, digests: opts.Digests}
	if r.grace == 0 {
		r.grace = DefaultGrace
	}
	if err := r.open(opts); err != nil {
		return nil, errors.Join(err, live.close())
	}
	return r, nil
}

func (r *Runner) open(opts Options) (err error) {
	if r.store, err = snapshot.Open(r.live.dir); err != nil {
		return err
	}
	r.image, err = openHostImage(opts.StateDir, opts.Private)
	if err != nil {
		return fmt.Errorf("describe this machine as an image: %w", err)
	}
	scratch := filepath.Join(r.live.dir, "scratch")
	if err := os.Mkdir(scratch, 0o755); err != nil {
		return err
	}
	if r.limit, err = openLimiter(); err != nil {
		return err
	}
	r.seats = &seats{config: sandbox.Config{Scratch: scratch, Cgroups: r.limit.cgroups}, dir: r.store.ActiveDir()}
	seat, err := r.seats.take()
	if err != nil {
		return err
	}
	err = r.chooseDriver(opts, seat.cell)
	return errors.Join(err, r.seats.put(seat))
}

func (r *Runner) chooseDriver(opts Options, cell *sandbox.Cell) (err error) {
	r.choice = Driver{Name: driverCopies, Reason: "that was asked for"}
	if !opts.ForceCopy {
		if r.choice, err = tryOverlay(cell, r.store.ActiveDir(), opts.StateDir, r.image); err != nil {
			return err
		}
	}
	if r.choice.Name == driverCopies {
		r.driver = &copies{store: r.store, image: r.image}
	} else {
		r.driver = &overlays{store: r.store, image: r.image, points: filepath.Join(r.live.dir, "points")}
	}
	return nil
}

// Driver tells how the runner forks a step from its parent on this machine.
func (r *Runner) Driver() Driver { return r.choice }

// Close ends the runner's supervising processes and removes all snapshots. No
// step may run any more.
func (r *Runner) Close() error {
	return errors.Join(r.seats.close(), r.store.Close(), r.live.close())
}

// Name is the runner's name.
const Name = "container"

// SnapshotFormat names the layer format of package snapshot.
const SnapshotFormat = "layers-1"

// Name returns the constant Name.
func (r *Runner) Name() string { return Name }

// SnapshotFormat returns the constant SnapshotFormat, or nothing where files are
// copied: such snapshots are of no use to others.
func (r *Runner) SnapshotFormat() string {
	if r.choice.Name == driverCopies {
		return ""
	}
	return SnapshotFormat
}

// ReapSnapshots removes snapshots and the layers that only they used. Seats may
// still have them mounted, and with that their disk space, so they end first.
func (r *Runner) ReapSnapshots(_ context.Context, refs []runner.SnapshotRef) error {
	return errors.Join(r.seats.close(), r.store.Remove(refs...))
}

// ValidateStep checks what CheckStep does, and whether this machine can apply
// the step's limits.
func (r *Runner) ValidateStep(step pipeline.Step) error {
	if err := CheckStep(step); err != nil {
		return err
	}
	_, err := r.limit.limits(step.Resources)
	return err
}

// Execute runs one step in a sandbox.
func (r *Runner) Execute(ctx context.Context, sc *runner.StepContext, in runner.ExecutorInput) (runner.StepResult, error) {
	if in.Cache.Action == runner.Hit {
		return runner.StepResult{Snapshot: in.Cache.Ref}, nil
	}
	if err := ctx.Err(); err != nil {
		return runner.StepResult{}, err
	}
	seat, err := r.seats.take()
	if err != nil {
		return runner.StepResult{}, &runner.InfraError{Op: "start a sandbox", Kind: runner.KindUnsupported, Err: err}
	}
	fork, result, err := r.inSeat(ctx, sc, in, seat)
	if fork != nil {
		defer fork.Discard()
	}
	err = errors.Join(err, r.seats.put(seat))
	if err == nil && !result.Passed() {
		err = r.diskFull()
	}
	if err == nil && in.Cache.Action == runner.MissBuildAs && result.Passed() {
		if err := fork.Commit(in.Cache.Ref); err != nil {
			return runner.StepResult{}, err
		}
		result.Snapshot = in.Cache.Ref
		return result, nil
	}
	return result, err
}

// inSeat runs the step in a fork, which the caller commits or discards, also
// with an error.
func (r *Runner) inSeat(ctx context.Context, sc *runner.StepContext, in runner.ExecutorInput, seat *seat) (fork, runner.StepResult, error) {
	a, err := parseArgs(in.Step.RunnerArgs)
	if err != nil {
		return nil, runner.StepResult{}, &runner.InfraError{Op: "read runner_args", Kind: runner.KindUnsupported, Err: err}
	}
	if a.Nested && os.Geteuid() == 0 {
		sc.Notice(`"nested" lets this step become root on the machine, since root runs Strata: ordinary users' steps cannot`)
	}
	fork, err := r.driver.fork(ctx, in, a.HostPaths, seat)
	if err != nil {
		return nil, runner.StepResult{}, err
	}
	spec, err := r.spec(in, a, fork)
	if err != nil {
		return fork, runner.StepResult{}, err
	}
	result, changed, err := r.supervise(ctx, sc, in, seat.cell, spec)
	return fork, result, errors.Join(err, fork.surrender(changed))
}

var (
	_ runner.StepRunner     = (*Runner)(nil)
	_ runner.SnapshotReaper = (*Runner)(nil)
	_ runner.SnapshotSharer = (*Runner)(nil)
	_ runner.StepValidator  = (*Runner)(nil)
	_ io.Closer             = (*Runner)(nil)
)
