//go:build linux

package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

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

	driver driver
	choice Driver
	grace  time.Duration
}

// New returns a runner, after it has found out by starting a sandbox that this
// machine can run it. The error says what stands in the way.
func New(opts Options) (*Runner, error) {
	live, err := openLive(filepath.Join(opts.StateDir, "live"))
	if err != nil {
		return nil, fmt.Errorf("open the container runner's state: %w", err)
	}
	r := &Runner{live: live, grace: opts.Grace}
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
	err = r.chooseDriver(opts.ForceCopy, seat.cell)
	return errors.Join(err, r.seats.put(seat))
}

func (r *Runner) chooseDriver(force bool, cell *sandbox.Cell) (err error) {
	r.choice = Driver{Name: driverCopies, Reason: "that was asked for"}
	if !force {
		if r.choice, err = tryOverlay(cell, r.store.ActiveDir(), r.image); err != nil {
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

// ReapSnapshots removes snapshots and the layers that only they used.
func (r *Runner) ReapSnapshots(_ context.Context, refs []runner.SnapshotRef) error {
	return r.store.Remove(refs...)
}

// args are the runner_args of a container step.
type args struct {
	// Nested allows the step to make sandboxes of its own.
	Nested bool `json:"nested"`
	// HostPaths are absolute paths of this machine that the step sees read-only.
	HostPaths []string `json:"host_paths"`
}

func parseArgs(data json.RawMessage) (args, error) {
	var a args
	if len(data) == 0 {
		return a, nil
	}
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) && wrong.Field != "" {
			err = fmt.Errorf("%q is a %s", wrong.Field, wrong.Value)
		}
		return a, fmt.Errorf(`runner_args: %s: the container runner takes "nested" (true or false) and "host_paths" (a list of absolute paths)`,
			strings.TrimPrefix(err.Error(), "json: "))
	}
	for _, p := range a.HostPaths {
		if !filepath.IsAbs(p) || filepath.Clean(p) != p {
			return a, fmt.Errorf("host_paths: %q is not a clean absolute path", p)
		}
	}
	return a, nil
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

// CheckStep checks a step's image and runner_args, on any machine.
func CheckStep(step pipeline.Step) error {
	if step.Image != "" && step.Image != pipeline.ImageHost {
		return fmt.Errorf("it knows the image %q only, not %q", pipeline.ImageHost, step.Image)
	}
	_, err := parseArgs(step.RunnerArgs)
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

// spec puts together what the step sees.
func (r *Runner) spec(in runner.ExecutorInput, a args, fork fork) (sandbox.Spec, error) {
	limits, err := r.limit.limits(in.Step.Resources)
	if err != nil {
		return sandbox.Spec{}, &runner.InfraError{Op: "limit the step", Kind: runner.KindUnsupported, Err: err}
	}
	spec := sandbox.Spec{
		Base: r.live.dir, Mounts: fork.mounts(),
		Argv: in.Step.Command.Argv(), Env: withDefaults(in.Env),
		Dir:            filepath.Join("/workspace", filepath.FromSlash(in.Dir)),
		Hostname:       "strata",
		PrivateNetwork: in.Step.Network == pipeline.NetworkNone,
		Nested:         a.Nested,
		Limits:         limits,
	}
	for _, p := range a.HostPaths {
		spec.Mounts = append(spec.Mounts, sandbox.Mount{Target: strings.TrimPrefix(p, "/"), Source: p, ReadOnly: true})
	}
	return spec, nil
}

const (
	defaultHome = "/root"
	// defaultPath is Debian's for root (login.defs, ENV_SUPATH), with the usual
	// place of the Go toolchain before it.
	defaultPath = "/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

func withDefaults(env []string) []string {
	has := func(key string) bool {
		return slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, key+"=") })
	}
	env = slices.Clone(env)
	if !has("PATH") {
		env = append(env, "PATH="+defaultPath)
	}
	if !has("HOME") {
		env = append(env, "HOME="+defaultHome)
	}
	return env
}

// supervise runs the command, with its output, time limit and cancellation.
func (r *Runner) supervise(ctx context.Context, sc *runner.StepContext, in runner.ExecutorInput, cell *sandbox.Cell, spec sandbox.Spec) (res runner.StepResult, changed []string, err error) {
	out, err := openOutput(sc.Stdout, sc.Stderr)
	if err != nil {
		return runner.StepResult{}, nil, runner.AsInfra("make pipes", err)
	}
	stop := newStopper(ctx, sc.Kill, in.Timeout, r.grace)
	go stop.watch(out.failed)
	result, runErr := cell.Run(stop.abandon, spec, out.ends(), sandbox.Control{Terminate: stop.terminate, Kill: stop.kill})
	stop.end()
	outErr := out.wait()
	if stop.cancelled {
		return runner.StepResult{}, result.Changed, ctx.Err()
	}
	if runErr != nil {
		return runner.StepResult{}, result.Changed, infraError(runErr)
	}
	if outErr != nil {
		return runner.StepResult{}, result.Changed, runner.AsInfra("write the step's output", outErr)
	}
	res = runner.StepResult{
		ExitCode:    result.ExitCode,
		Signal:      signalName(result.Signal),
		OutOfMemory: result.OutOfMemory,
		TimedOut:    stop.timedOut,
		Usage: runner.Usage{
			UserTime: result.UserTime, SystemTime: result.SystemTime, PeakMemory: pipeline.Bytes(result.PeakMemory),
		},
	}
	return res, result.Changed, nil
}

func signalName(s unix.Signal) string {
	if s == 0 {
		return ""
	}
	return unix.SignalName(s)
}

func infraError(err error) *runner.InfraError {
	var failed *sandbox.Error
	switch {
	case errors.As(err, &failed) && failed.Stage == sandbox.StageStart:
		return &runner.InfraError{Op: "start the command", Kind: runner.KindStart, Err: err}
	case errors.As(err, &failed):
		return runner.AsInfra("prepare the sandbox", err)
	case errors.Is(err, sandbox.ErrLost):
		return &runner.InfraError{Op: "run the command", Kind: runner.KindLost, Temporary: true, Err: err}
	}
	return runner.AsInfra("run the command", err)
}

var (
	_ runner.StepRunner     = (*Runner)(nil)
	_ runner.SnapshotReaper = (*Runner)(nil)
	_ runner.SnapshotSharer = (*Runner)(nil)
	_ runner.StepValidator  = (*Runner)(nil)
	_ io.Closer             = (*Runner)(nil)
)
