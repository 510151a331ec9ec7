//go:build linux

package container

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

func execute(r *Runner, step pipeline.Step) (runner.StepResult, error) {
	var out bytes.Buffer
	sc := &runner.StepContext{Stdout: &out, Stderr: &out, Notice: func(string) {}}
	return r.Execute(context.Background(), sc, runner.ExecutorInput{Step: step, RunID: "r", StepID: "s"})
}

func TestOutOfMemory(t *testing.T) {
	r := open(t, Options{StateDir: t.TempDir()})
	step := pipeline.Step{Command: pipeline.Command{Shell: "dd if=/dev/zero of=/dev/null bs=64M count=1 || exit 3; exit 4"}}
	res, err := execute(r, step)
	if err != nil || res.ExitCode != 4 || res.OutOfMemory {
		t.Errorf("without a limit: %+v, %v", res, err)
	}
	step.Resources = &pipeline.Resources{CPUs: 1, Memory: 32 << 20}
	if err := r.ValidateStep(step); err != nil {
		t.Skip(err)
	}
	res, err = execute(r, step)
	if err != nil || res.ExitCode != 3 || !res.OutOfMemory {
		t.Errorf("with a limit: %+v, %v", res, err)
	}
}

func TestLimitsWithoutControlGroups(t *testing.T) {
	r := open(t, Options{StateDir: t.TempDir()})
	r.limit = lazy[limiter]{made: true, it: limiter{err: errors.New("there are no control groups")}}
	step := pipeline.Step{Command: pipeline.Command{Shell: "exit 0"}, Resources: &pipeline.Resources{}}
	if res, err := execute(r, step); err != nil || !res.Passed() {
		t.Errorf("without limits: %+v, %v", res, err)
	}
	for _, resources := range []pipeline.Resources{{CPUs: 1}, {Memory: 1 << 30}} {
		step.Resources = &resources
		const want = "this machine cannot limit a step: there are no control groups"
		if err := r.ValidateStep(step); err == nil || err.Error() != want {
			t.Errorf("validate: %v", err)
		}
		_, err := execute(r, step)
		var infra *runner.InfraError
		if !errors.As(err, &infra) || infra.Kind != runner.KindUnsupported || !strings.Contains(err.Error(), want) {
			t.Errorf("execute: %v", err)
		}
	}
}
