package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/internal/runners/host"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// runners are those of this machine, ready for use.
type runners struct {
	registry runner.Registry
	// notices tell the user what is not as it should be.
	notices []string
	// fallback tells of the default runner that is not the one it should be.
	fallback string
	broken   []standIn
	closers  []io.Closer
}

// openRunners opens all runners of this platform, after it has removed what
// killed processes left. With a store that is only read it changes nothing, and
// the runners can only be asked. The default one is the best that works here, found by
// trying.
func openRunners(ctx context.Context, s *store) (*runners, error) {
	r := &runners{}
	if err := r.openIsolated(s); err != nil {
		return nil, errors.Join(err, r.close())
	}
	h, err := openHost(s)
	if err == nil {
		r.sweep(ctx, s, h)
		r.closers = append(r.closers, h)
		err = r.registry.Register(h)
	}
	for _, u := range r.broken { // after the runner that is the default now
		err = errors.Join(err, r.registry.Register(u))
	}
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// sweep removes what killed processes left, unless nothing is to be changed.
func (r *runners) sweep(ctx context.Context, s *store, h *host.Runner) {
	if s.db.ReadOnly() {
		return
	}
	if err := h.Sweep(ctx); err != nil && ctx.Err() == nil {
		r.notices = append(r.notices, fmt.Sprintf("what a killed run left could not be removed: %v", err))
	}
}

func openHost(s *store) (*host.Runner, error) {
	return host.New(host.Options{StateDir: filepath.Join(s.home, "hosts"), Digests: s.digests})
}

// reapers are the runners that keep ephemeral snapshots.
func (r *runners) reapers() map[string]runner.SnapshotReaper {
	found := map[string]runner.SnapshotReaper{}
	for _, name := range r.registry.Names() {
		if one, err := r.registry.Get(name); err == nil {
			if reaper, ok := one.(runner.SnapshotReaper); ok {
				found[name] = reaper
			}
		}
	}
	return found
}

// fallBack makes the host runner the default, in place of a runner that this
// machine cannot have, and keeps that one's name with the reason. The advice
// says what to change; it may be empty.
func (r *runners) fallBack(name string, reason error, advice string) {
	if advice == "" {
		advice = "`strata doctor` tells what to change"
	}
	r.broken = append(r.broken, standIn{name: name, check: func(pipeline.Step) error {
		return fmt.Errorf("it does not work on this machine: %w; %s", reason, advice)
	}})
	r.fallback = fmt.Sprintf("steps run without isolation, in copies of the workspace: the %s runner does not work here (%v); %s",
		name, reason, advice)
}

// notes are the notices of a run. Chosen is the runner that the command line
// names for steps that name none; empty for the default.
func (r *runners) notes(made *plan.Plan, chosen string) []string {
	falls := r.fallback != "" && chosen == "" &&
		slices.ContainsFunc(made.Steps, func(s plan.Step) bool { return s.Step.Runner == "" })
	if !falls {
		return r.notices
	}
	return append(slices.Clip(r.notices), r.fallback)
}

func (r *runners) close() error {
	var errs []error
	for _, c := range r.closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// stateFault reports whether a runner failed because of its files in the state
// directory.
func stateFault(home string, err error) bool {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return strings.HasPrefix(path.Path, home)
	case errors.As(err, &link):
		return strings.HasPrefix(link.New, home)
	}
	return false
}

// standIn takes the place of a runner: of one that this machine cannot have, so
// that a pipeline that names it is told why, of one whose state cannot be used,
// or of one in a plan that is only looked at.
type standIn struct {
	name, format string
	check        func(pipeline.Step) error
	fault        error // why no step can be run; nil if none is to be
}

// Name returns the name of the runner that it stands for.
func (s standIn) Name() string { return s.name }

// SnapshotFormat returns that runner's format.
func (s standIn) SnapshotFormat() string { return s.format }

// ValidateStep judges as far as can be told without the runner.
func (s standIn) ValidateStep(step pipeline.Step) error { return s.check(step) }

// Execute refuses.
func (s standIn) Execute(context.Context, *runner.StepContext, runner.ExecutorInput) (runner.StepResult, error) {
	op := "start the runner " + s.name
	if s.fault == nil {
		return runner.StepResult{}, &runner.InfraError{Op: op, Kind: runner.KindUnsupported, Err: errors.New("it is not available")}
	}
	return runner.StepResult{}, runner.AsInfra(op, s.fault)
}

// plannedRunners describes this platform's runners without opening any.
func plannedRunners() (*runner.Registry, error) {
	var registry runner.Registry
	for _, s := range append(isolatedStandIns(), standIn{name: host.Name, check: host.CheckStep}) {
		if err := registry.Register(s); err != nil {
			return nil, err
		}
	}
	return &registry, nil
}

// runnerSet describes this platform's runners to the validation of pipelines.
func (a *app) runnerSet() (pipeline.RunnerSet, error) {
	registry, err := plannedRunners()
	if err != nil {
		return pipeline.RunnerSet{}, err
	}
	return plan.Runners(registry, registry.Default()), nil
}

// privatePaths are what no isolated step may see.
func privatePaths(home string) []string {
	private := []string{home}
	if user, err := os.UserHomeDir(); err == nil {
		private = append(private, user)
	}
	return private
}
