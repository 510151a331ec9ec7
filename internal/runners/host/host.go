// Package host is the runner that executes a step's command directly on this
// machine, in a private copy of the workspace. It isolates nothing: the command
// sees and can change whatever the user can. It runs where nothing better does.
//
// In: a step, the run's capture and the parent's snapshot. Out: the command's
// output and end, and the workspace afterwards as a snapshot. A snapshot holds
// the workspace alone; what a step did elsewhere on the machine is not undone,
// not inherited and not seen by the cache. It never writes to the user's
// working tree, to a capture or to a committed snapshot, and no process of a
// step outlives it.
//
// A program that uses this package calls [Supervise] first thing in main.
package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/strata-ci/strata/internal/image"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// DefaultGrace is how long a cancelled step has to end by itself. It is what
// `docker stop` gives: tools that clean up on SIGTERM are written for it.
const DefaultGrace = 10 * time.Second

// Options configure a Runner.
type Options struct {
	// StateDir is an absolute directory for the steps' workspaces and the
	// snapshots. It is made when the first step needs it.
	StateDir string
	// Digests remember what was read of the machine: see image.Host. nil reads
	// it anew.
	Digests image.Digests
	// Grace is the time between asking processes to terminate and killing
	// them; 0 is DefaultGrace.
	Grace time.Duration
}

// Runner is the runner "host". Several of them, also in several processes, can
// share a state directory.
type Runner struct {
	state   state
	grace   time.Duration
	owner   owner
	digests image.Digests
}

// New returns a runner. It touches nothing on disk.
func New(opts Options) (*Runner, error) {
	if !filepath.IsAbs(opts.StateDir) {
		return nil, fmt.Errorf("host runner: the state directory %q is not an absolute path", opts.StateDir)
	}
	if opts.Grace < 0 {
		return nil, fmt.Errorf("host runner: the grace time %v is negative", opts.Grace)
	}
	if opts.Grace == 0 {
		opts.Grace = DefaultGrace
	}
	return &Runner{
		state:   state{dir: opts.StateDir},
		grace:   opts.Grace,
		owner:   owner{state: state{dir: opts.StateDir}},
		digests: opts.Digests,
	}, nil
}

// Close gives up the snapshots that are not kept: the next sweep removes them. No
// step may run any more.
func (r *Runner) Close() error { return r.owner.close() }

// Name is the runner's name.
const Name = "host"

// Name returns the constant Name.
func (r *Runner) Name() string { return Name }

// ValidateStep is CheckStep.
func (r *Runner) ValidateStep(step pipeline.Step) error { return CheckStep(step) }

// CheckStep refuses what needs isolation: images, networks, limits and arguments.
func CheckStep(step pipeline.Step) error {
	if len(step.RunnerArgs) > 0 && string(step.RunnerArgs) != "null" {
		return errors.New("it takes no runner_args")
	}
	if step.Resources != nil && *step.Resources != (pipeline.Resources{}) {
		return errors.New("it cannot limit CPUs or memory: remove the limits or choose an isolating runner, such as container")
	}
	if step.Image != "" && step.Image != pipeline.ImageHost {
		return fmt.Errorf("it has no images, only this machine's own files: remove image %q or choose another runner", step.Image)
	}
	if step.Network == pipeline.NetworkNone {
		return errors.New("it cannot take the network away: remove network \"none\" or choose an isolating runner, such as container")
	}
	return nil
}

// Execute runs the step's command in a copy of the workspace, or of the
// parent's. See [runner.StepRunner].
func (r *Runner) Execute(ctx context.Context, sc *runner.StepContext, in runner.ExecutorInput) (runner.StepResult, error) {
	if err := ctx.Err(); err != nil {
		return runner.StepResult{}, err
	}
	if in.Cache.Action == runner.Hit {
		return runner.StepResult{Snapshot: in.Cache.Ref}, nil
	}
	if err := r.supported(in); err != nil {
		return runner.StepResult{}, err
	}
	room, err := r.state.openRoom(in.StepID)
	if err != nil {
		return runner.StepResult{}, runner.AsInfra("make the step's directory", err)
	}
	result, err := r.runIn(ctx, sc, in, room)
	switch closeErr := room.close(); {
	case closeErr != nil && err == nil:
		err = runner.AsInfra("remove the step's directory", closeErr)
	case closeErr != nil:
		sc.Notice(fmt.Sprintf("the step's directory could not be removed: %v", closeErr))
	}
	if err != nil {
		result.Snapshot = ""
		return result, ended(ctx, err)
	}
	return result, nil
}

// runIn fills the room, runs the command there and commits.
func (r *Runner) runIn(ctx context.Context, sc *runner.StepContext, in runner.ExecutorInput, room *room) (runner.StepResult, error) {
	capture, err := r.state.fill(ctx, room, in)
	if err != nil {
		return runner.StepResult{}, err
	}
	spec, err := newSpec(in, room)
	if err != nil {
		return runner.StepResult{}, err
	}
	result, err := r.runCommand(ctx, sc, spec, in.Timeout, room)
	if err != nil || !in.Cache.Commits(result.Passed()) {
		return result, err
	}
	if err := r.commit(room, capture, in.Cache.Ref); err != nil {
		return result, runner.AsInfra(fmt.Sprintf("commit the snapshot %s", in.Cache.Ref), err)
	}
	result.Snapshot = in.Cache.Ref
	return result, nil
}

// mayCommit reports whether a snapshot may be asked for, which is not known
// before the end.
func mayCommit(decision runner.CacheDecision) bool {
	return decision.Commits(true) || decision.Commits(false)
}

// commit makes the room a snapshot of this runner.
func (r *Runner) commit(room *room, capture string, ref runner.SnapshotRef) error {
	if err := r.owner.add(string(ref)); err != nil {
		return err
	}
	return r.state.commit(room, capture, ref)
}

// supported refuses what a step asks for and this runner cannot give.
func (r *Runner) supported(in runner.ExecutorInput) error {
	err := r.ValidateStep(in.Step)
	if err == nil && mayCommit(in.Cache) && !validRef(in.Cache.Ref) {
		err = fmt.Errorf("%q cannot name a snapshot", in.Cache.Ref)
	}
	if err == nil {
		return nil
	}
	return &runner.InfraError{Op: "run the step with the host runner", Kind: runner.KindUnsupported, Err: err}
}

// ended returns the context's error where the context ended the work, else err
// as an infrastructure error.
func ended(ctx context.Context, err error) error {
	if cause := ctx.Err(); cause != nil && errors.Is(err, cause) {
		return cause
	}
	return runner.AsInfra("run the step on the host", err)
}

// ReapSnapshots removes the snapshots, also kept ones and those of other
// processes; those that do not exist are no error.
func (r *Runner) ReapSnapshots(ctx context.Context, refs []runner.SnapshotRef) error {
	var errs []error
	for _, ref := range refs {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		err := r.state.reap(ref)
		if err == nil {
			err = r.owner.remove(string(ref))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("remove the snapshot %s: %w", ref, err))
		}
	}
	return errors.Join(errs...)
}

// Sweep removes what processes of Strata have left that were killed: rooms of
// steps, and snapshots that are not kept. What processes that live use is not
// touched. Call it once at the start.
func (r *Runner) Sweep(ctx context.Context) error {
	if err := r.state.sweep(ctx); err != nil {
		return fmt.Errorf("sweep %s: %w", r.state.dir, err)
	}
	return nil
}

var (
	_ runner.StepRunner      = (*Runner)(nil)
	_ runner.StepValidator   = (*Runner)(nil)
	_ runner.SnapshotReaper  = (*Runner)(nil)
	_ runner.SnapshotKeeper  = (*Runner)(nil)
	_ runner.SnapshotChecker = (*Runner)(nil)
	_ runner.ImageIdentifier = (*Runner)(nil)
	_ io.Closer              = (*Runner)(nil)
)
