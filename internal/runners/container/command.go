//go:build linux

package container

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/internal/sandbox"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// spec puts together what the step sees.
func (r *Runner) spec(in runner.ExecutorInput, a args, fork fork) (sandbox.Spec, error) {
	limits, err := r.limits(in.Step.Resources)
	if err != nil {
		return sandbox.Spec{}, &runner.InfraError{Op: "limit the step", Kind: runner.KindUnsupported, Err: err}
	}
	spec := sandbox.Spec{
		Base: filepath.Clean(r.opts.StateDir), Mounts: fork.mounts(),
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
	out, err := openOutput(sc)
	if err != nil {
		return runner.StepResult{}, nil, runner.AsInfra("make pipes", err)
	}
	stop := newStopper(ctx, sc.Kill, in.Timeout, r.opts.Grace)
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
