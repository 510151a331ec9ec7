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
	"github.com/strata-ci/strata/internal/records"
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
	// StateDir is a directory of the runner's own, shared by all processes.
	StateDir string
	// Records are those of the state directory. The runner does not close them.
	// With read-only ones it writes nothing, and can only look at snapshots.
	Records *records.DB
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
// runner.SnapshotReaper, runner.SnapshotKeeper, runner.SnapshotChecker,
// runner.SnapshotSharer, runner.StepValidator and io.Closer.
type Runner struct {
	opts    Options
	store   *snapshot.Store
	machine lazy[*machine]
	limit   lazy[limiter]
	choice  Driver
}

// New returns a runner for a machine that is known to be able to run it: by
// starting a sandbox, or because that was done since the machine was started.
// The error says what stands in the way. What killed processes left is removed.
func New(opts Options) (*Runner, error) {
	if opts.Grace == 0 {
		opts.Grace = DefaultGrace
	}
	store, err := snapshot.Open(filepath.Clean(opts.StateDir), opts.Records)
	if err != nil {
		return nil, fmt.Errorf("open the container runner's state: %w", err)
	}
	r := &Runner{opts: opts, store: store}
	r.machine.open = r.startMachine
	r.limit.open = openLimiter
	if err := r.prepare(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// prepare finds out how this machine forks a step from its parent. It starts a
// sandbox only if that is not known. With read-only records it may stay so.
func (r *Runner) prepare() error {
	if r.store.FoundDead() { // with a killed process's control groups
		if _, err := r.limit.get(); err != nil {
			return err
		}
	}
	probe, err := newProbe(r.opts)
	if err != nil {
		return fmt.Errorf("look at this machine: %w", err)
	}
	if known, ok := probe.recall(); ok || r.opts.Records.ReadOnly() {
		r.choice = known
		return nil
	}
	if err := r.try(); err != nil {
		return err
	}
	// On a full disk it is found out again the next time.
	if err := probe.remember(r.choice); err != nil && !runner.IsDiskFull(err) {
		return fmt.Errorf("write down what this machine can do: %w", err)
	}
	return nil
}

// Driver tells how the runner forks a step from its parent on this machine.
func (r *Runner) Driver() Driver { return r.choice }

// Close ends the runner's supervising processes and removes all snapshots that
// are not kept. No step may run any more.
func (r *Runner) Close() error {
	var err error
	if m, ok := r.machine.peek(); ok {
		err = errors.Join(m.seats.close(), m.image.close())
	}
	return errors.Join(err, r.store.Close())
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

// ValidateStep checks what CheckStep does, and whether this machine can apply
// the step's limits.
func (r *Runner) ValidateStep(step pipeline.Step) error {
	if err := CheckStep(step); err != nil {
		return err
	}
	_, err := r.limits(step.Resources)
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
	m, seat, err := r.takeSeat()
	if err != nil {
		return runner.StepResult{}, err
	}
	fork, result, err := r.inSeat(ctx, sc, in, m, seat)
	if fork != nil {
		defer fork.Discard()
	}
	err = errors.Join(err, m.seats.put(seat))
	if err == nil && !result.Passed() {
		err = m.diskFull()
	}
	if err != nil || !in.Cache.Commits(result.Passed()) {
		return result, err
	}
	if err := fork.Commit(in.Cache.Ref); err != nil {
		return runner.StepResult{}, err
	}
	result.Snapshot = in.Cache.Ref
	return result, nil
}

// WarmUp starts what the first step needs, which takes longer than a small step.
// What goes wrong, that step finds out again.
func (r *Runner) WarmUp() {
	m, err := r.machine.get()
	if err != nil {
		return
	}
	if seat, err := m.seats.take(); err == nil {
		_ = m.seats.put(seat) // a seat that cannot be kept is none
	}
}

// takeSeat returns a place to run a step in, on the machine that this starts.
// Where that is not possible, it is not known any more to be.
func (r *Runner) takeSeat() (*machine, *seat, error) {
	m, err := r.machine.get()
	if err == nil {
		var s *seat
		if s, err = m.seats.take(); err == nil {
			return m, s, nil
		}
	}
	err = errors.Join(err, forget(r.opts.StateDir))
	if runner.IsDiskFull(err) {
		return nil, nil, runner.AsInfra("start a sandbox", err)
	}
	return nil, nil, &runner.InfraError{Op: "start a sandbox", Kind: runner.KindUnsupported, Err: err}
}

// inSeat runs the step in a fork, which the caller commits or discards, also
// with an error.
func (r *Runner) inSeat(ctx context.Context, sc *runner.StepContext, in runner.ExecutorInput, m *machine, seat *seat) (fork, runner.StepResult, error) {
	a, err := parseArgs(in.Step.RunnerArgs)
	if err != nil {
		return nil, runner.StepResult{}, &runner.InfraError{Op: "read runner_args", Kind: runner.KindUnsupported, Err: err}
	}
	if a.Nested && os.Geteuid() == 0 {
		sc.Notice(`"nested" lets this step become root on the machine, since root runs Strata: ordinary users' steps cannot`)
	}
	fork, err := m.driver.fork(ctx, in, a.HostPaths, seat)
	if err != nil {
		return nil, runner.StepResult{}, err
	}
	spec, err := r.spec(in, a, fork)
	if err != nil {
		return fork, runner.StepResult{}, err
	}
	result, changed, err := r.supervise(ctx, sc, in, seat.cell, spec)
	var failed *sandbox.Error
	if errors.As(err, &failed) && failed.Stage != sandbox.StageStart {
		err = errors.Join(err, forget(r.opts.StateDir)) // what is known of the machine may be wrong
	}
	return fork, result, errors.Join(err, fork.surrender(changed))
}

var (
	_ runner.StepRunner      = (*Runner)(nil)
	_ runner.SnapshotReaper  = (*Runner)(nil)
	_ runner.SnapshotKeeper  = (*Runner)(nil)
	_ runner.SnapshotChecker = (*Runner)(nil)
	_ runner.SnapshotSharer  = (*Runner)(nil)
	_ runner.StepValidator   = (*Runner)(nil)
	_ io.Closer              = (*Runner)(nil)
)
