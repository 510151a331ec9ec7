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
	"sync"
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
}

// Runner is the container runner. It implements runner.StepRunner,
// runner.SnapshotReaper, runner.SnapshotSharer, runner.ArgsValidator and io.Closer.
type Runner struct {
	store *snapshot.Store
	image *hostImage
	cells *cells
	grace time.Duration
}

// New returns a runner, after it has found out by starting a sandbox that this
// machine can run it. The error says what stands in the way.
func New(opts Options) (*Runner, error) {
	store, err := snapshot.Open(opts.StateDir)
	if err != nil {
		return nil, err
	}
	image, err := openHostImage(filepath.Join(opts.StateDir, "host"), append([]string{opts.StateDir}, opts.Private...))
	if err != nil {
		return nil, fmt.Errorf("describe this machine as an image: %w", err)
	}
	scratch := filepath.Join(opts.StateDir, "scratch")
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		return nil, err
	}
	r := &Runner{
		store: store, image: image, grace: opts.Grace,
		cells: &cells{config: sandbox.Config{Scratch: scratch}},
	}
	if r.grace == 0 {
		r.grace = DefaultGrace
	}
	cell, err := r.cells.take()
	if err != nil {
		return nil, err
	}
	return r, r.cells.put(cell)
}

// Close ends the runner's supervising processes. No step may run any more.
func (r *Runner) Close() error { return r.cells.close() }

// Name returns "container".
func (r *Runner) Name() string { return "container" }

// SnapshotFormat returns the name of the layer format of package snapshot.
func (r *Runner) SnapshotFormat() string { return "layers-1" }

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
		return a, fmt.Errorf(`%w: the container runner takes "nested" (true or false) and "host_paths" (a list of absolute paths)`, err)
	}
	for _, p := range a.HostPaths {
		if !filepath.IsAbs(p) || filepath.Clean(p) != p {
			return a, fmt.Errorf("host_paths: %q is not a clean absolute path", p)
		}
	}
	return a, nil
}

// ValidateArgs checks runner_args and whether this machine can apply limits.
func (r *Runner) ValidateArgs(data json.RawMessage, _ *pipeline.Resources) error {
	_, err := parseArgs(data)
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
	fork, err := r.store.Fork(in.StepID, in.Parent)
	if err != nil {
		return runner.StepResult{}, err
	}
	result, err := r.inFork(ctx, sc, in, fork)
	if err == nil && in.Cache.Action == runner.MissBuildAs && result.Passed() {
		if err := fork.Commit(in.Cache.Ref); err != nil {
			return runner.StepResult{}, err
		}
		result.Snapshot = in.Cache.Ref
		return result, nil
	}
	return result, errors.Join(err, fork.Discard())
}

func (r *Runner) inFork(ctx context.Context, sc *runner.StepContext, in runner.ExecutorInput, fork *snapshot.Fork) (runner.StepResult, error) {
	spec, err := r.spec(in, fork)
	if err != nil {
		return runner.StepResult{}, err
	}
	cell, err := r.cells.take()
	if err != nil {
		return runner.StepResult{}, &runner.InfraError{Op: "start a sandbox", Kind: runner.KindUnsupported, Err: err}
	}
	result, err := r.supervise(ctx, sc, in, cell, spec)
	return result, errors.Join(err, r.cells.put(cell))
}

// spec puts together what the step sees.
func (r *Runner) spec(in runner.ExecutorInput, fork *snapshot.Fork) (sandbox.Spec, error) {
	a, err := parseArgs(in.Step.RunnerArgs)
	if err != nil {
		return sandbox.Spec{}, &runner.InfraError{Op: "read runner_args", Kind: runner.KindUnsupported, Err: err}
	}
	spec := sandbox.Spec{
		Argv: in.Step.Command.Argv(), Env: withDefaults(in.Env),
		Dir:            filepath.Join("/workspace", filepath.FromSlash(in.Dir)),
		Hostname:       "strata",
		PrivateNetwork: in.Step.Network == pipeline.NetworkNone,
		Nested:         a.Nested,
	}
	trees := append([]hostTree{{at: "."}}, r.image.trees...)
	for _, t := range trees {
		lowers := []string{filepath.Join(r.image.base, t.at)}
		if t.lower != "" {
			lowers = append(lowers, t.lower)
		}
		if err := addOverlay(&spec, fork, snapshot.Root, t.at, t.at, lowers); err != nil {
			return spec, err
		}
	}
	var capture []string
	if in.Workspace != nil {
		capture = in.Workspace.Layers()
	}
	return spec, addOverlay(&spec, fork, snapshot.Workspace, ".", "workspace", capture)
}

func addOverlay(spec *sandbox.Spec, fork *snapshot.Fork, tree snapshot.Tree, at, target string, base []string) error {
	o, err := fork.Overlay(tree, at, base...)
	if err != nil {
		return err
	}
	spec.Mounts = append(spec.Mounts, sandbox.Mount{Target: target, Lowers: o.Lowers, Upper: o.Upper, Work: o.Work})
	return nil
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
func (r *Runner) supervise(ctx context.Context, sc *runner.StepContext, in runner.ExecutorInput, cell *sandbox.Cell, spec sandbox.Spec) (runner.StepResult, error) {
	out, err := openOutput(sc.Stdout, sc.Stderr)
	if err != nil {
		return runner.StepResult{}, runner.AsInfra("make pipes", err)
	}
	stop := newStopper(ctx, sc.Kill, in.Timeout, r.grace)
	go stop.watch(out.failed)
	result, runErr := cell.Run(stop.abandon, spec, out.ends(), sandbox.Control{Terminate: stop.terminate, Kill: stop.kill})
	stop.end()
	outErr := out.wait()
	if err := ctx.Err(); err != nil {
		return runner.StepResult{}, err
	}
	if runErr != nil {
		return runner.StepResult{}, infraError(runErr)
	}
	if outErr != nil {
		return runner.StepResult{}, runner.AsInfra("write the step's output", outErr)
	}
	return runner.StepResult{
		ExitCode: result.ExitCode,
		Signal:   signalName(result.Signal),
		TimedOut: stop.timedOut,
		Usage: runner.Usage{
			UserTime: result.UserTime, SystemTime: result.SystemTime, PeakMemory: pipeline.Bytes(result.PeakMemory),
		},
	}, nil
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

// cells keeps supervising processes between steps.
type cells struct {
	config sandbox.Config
	mu     sync.Mutex
	idle   []*sandbox.Cell
}

func (c *cells) take() (*sandbox.Cell, error) {
	c.mu.Lock()
	if n := len(c.idle); n > 0 {
		cell := c.idle[n-1]
		c.idle = c.idle[:n-1]
		c.mu.Unlock()
		return cell, nil
	}
	c.mu.Unlock()
	return sandbox.Start(c.config)
}

func (c *cells) put(cell *sandbox.Cell) error {
	if cell.Lost() {
		return cell.Close()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = append(c.idle, cell)
	return nil
}

func (c *cells) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, cell := range c.idle {
		errs = append(errs, cell.Close())
	}
	c.idle = nil
	return errors.Join(errs...)
}

var (
	_ runner.StepRunner     = (*Runner)(nil)
	_ runner.SnapshotReaper = (*Runner)(nil)
	_ runner.SnapshotSharer = (*Runner)(nil)
	_ runner.ArgsValidator  = (*Runner)(nil)
	_ io.Closer             = (*Runner)(nil)
)
