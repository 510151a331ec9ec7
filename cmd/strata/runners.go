package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/strata-ci/strata/internal/runners/host"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// runners are those of this machine, ready for use.
type runners struct {
	registry runner.Registry
	// notices tell the user what is not as it should be.
	notices []string
	broken  []unavailable
	closers []io.Closer
}

// openRunners opens all runners of this platform. The default one is the best
// that works here, found by trying.
func openRunners(home string) (*runners, error) {
	r := &runners{}
	if err := r.openIsolated(home); err != nil {
		return nil, errors.Join(err, r.close())
	}
	h, err := host.New(host.Options{StateDir: filepath.Join(home, "hosts")})
	if err == nil {
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

// fallBack makes the host runner the default, in place of a runner that this
// machine cannot have, and keeps that one's name with the reason.
func (r *runners) fallBack(name string, reason error) {
	r.broken = append(r.broken, unavailable{name, reason})
	r.notices = append(r.notices, fmt.Sprintf(
		"steps run without isolation, in copies of the workspace: the %s runner does not work here (%v); `strata doctor` tells what to change", name, reason))
}

func (r *runners) close() error {
	var errs []error
	for _, c := range r.closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// unavailable stands for a runner that this machine cannot have, so that a
// pipeline that names it is told why.
type unavailable struct {
	name   string
	reason error
}

func (u unavailable) Name() string { return u.name }

func (u unavailable) Execute(context.Context, *runner.StepContext, runner.ExecutorInput) (runner.StepResult, error) {
	return runner.StepResult{}, &runner.InfraError{Op: "start the " + u.name + " runner", Kind: runner.KindUnsupported, Err: u.reason}
}

func (u unavailable) ValidateStep(pipeline.Step) error {
	return fmt.Errorf("it does not work on this machine: %w; `strata doctor` tells what to change", u.reason)
}

// privatePaths are what no isolated step may see.
func privatePaths(home string) []string {
	private := []string{home}
	if user, err := os.UserHomeDir(); err == nil {
		private = append(private, user)
	}
	return private
}
