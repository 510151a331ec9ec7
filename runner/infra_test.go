package runner_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/strata-ci/strata/runner"
)

func TestInfraErrorSaysWhatAndWhy(t *testing.T) {
	cause := errors.New("no such device")
	err := error(&runner.InfraError{Op: "mount the root", Kind: runner.KindUnsupported, Err: cause})
	if got, want := err.Error(), "mount the root: no such device"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	if !errors.Is(err, cause) {
		t.Error("the cause is not found through the error")
	}
}

func TestAsInfraKeepsAnInfraError(t *testing.T) {
	want := &runner.InfraError{Op: "boot", Kind: runner.KindLost, Temporary: true, Err: errors.New("gone")}
	if got := runner.AsInfra("run", fmt.Errorf("step: %w", want)); got != want {
		t.Errorf("AsInfra of a wrapped InfraError is %#v", got)
	}
}

func TestAsInfraTakesOthersForInternal(t *testing.T) {
	cause := errors.New("surprise")
	got := runner.AsInfra("run", cause)
	if got.Op != "run" || got.Kind != runner.KindInternal || got.Temporary || !errors.Is(got, cause) {
		t.Errorf("AsInfra of another error is %#v", got)
	}
}

func TestPassedNeedsEveryField(t *testing.T) {
	if !(runner.StepResult{}).Passed() {
		t.Error("a command that exited with 0 has not passed")
	}
	for _, r := range []runner.StepResult{
		{ExitCode: 1},
		{ExitCode: -1, Signal: "SIGKILL"},
		{Signal: "SIGTERM"},
		{OutOfMemory: true},
		{TimedOut: true},
	} {
		if r.Passed() {
			t.Errorf("%+v has passed", r)
		}
	}
}
