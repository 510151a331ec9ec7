package engine_test

import (
	"context"
	"testing"

	"github.com/strata-ci/strata/internal/cache"
	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// TestWhatARunUsesStaysUntilItsEnd has another process collect all it can while
// a step runs, before a child of a cached step starts.
func TestWhatARunUsesStaysUntilItsEnd(t *testing.T) {
	f := newShop(t)
	collect := func() cache.Report {
		e := f.engine(f.records)
		r, err := e.Cache.Collect(context.Background(), cache.Limits{}, e.Reapers, e.Free)
		if err != nil {
			t.Error(err)
		}
		return r
	}
	f.want(journal.Passed, []pipeline.Step{step("build", "compile", forever), step("old", "old", forever)}, "build old")
	f.steps = map[string]func(context.Context, *runner.StepContext, runner.ExecutorInput) (runner.StepResult, error){
		"collect": func(context.Context, *runner.StepContext, runner.ExecutorInput) (runner.StepResult, error) {
			if r := collect(); r.Removed != 1 {
				t.Errorf("%+v, want the one that is not used to go", r)
			}
			return runner.StepResult{}, nil
		},
	}
	f.want(journal.Passed, []pipeline.Step{
		step("build", "compile", forever), step("other", "collect"), step("test", "check", in("build"), after("other")),
	}, "other test")
	if f.parents["test"] != "compile " {
		t.Errorf("test started from %q", f.parents["test"])
	}
	f.wantNothingHeld()
	if r := collect(); r.Removed != 1 {
		t.Errorf("%+v: what the run used stays after its end", r)
	}
}
