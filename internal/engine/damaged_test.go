package engine_test

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/strata-ci/strata/internal/engine"
	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/internal/render"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

func (f *shop) remove(ref runner.SnapshotRef) { delete(f.snapshots, ref) }
func (f *shop) spoil(ref runner.SnapshotRef)  { f.snapshots[ref].damaged = true }

func wantNotice(t *testing.T, events []journal.Event, step, text string) {
	t.Helper()
	for _, e := range events {
		if e.Type == journal.Notice && e.Step == step && strings.Contains(e.Message, text) {
			return
		}
	}
	t.Errorf("no notice of %s says %q", step, text)
}

func TestMissingSnapshotIsMadeAgain(t *testing.T) {
	f := newShop(t)
	steps := []pipeline.Step{step("build", "compile", forever), step("test", "check", in("build"), forever)}
	f.want(journal.Passed, steps, "build test")
	f.damage("compile ", f.remove)
	_, events := f.want(journal.Passed, steps, "build")
	if reason := reasonOf(events, "build"); reason != "damaged" {
		t.Errorf("the reason is %q", reason)
	}
	wantNotice(t, events, "build", "usr/bin/tool")
	f.want(journal.Passed, steps, "")
	f.wantNothingHeld()
}

// TestChildOfADamagedResultStartsAgain, whether it ends before or after the
// damage is found.
func TestChildOfADamagedResultStartsAgain(t *testing.T) {
	for _, late := range []bool{false, true} {
		f := newShop(t)
		steps := []pipeline.Step{
			step("build", "compile", forever), step("a", "check a", in("build"), forever),
			step("b", "check b", in("build"), forever), step("c", "check c", in("build")),
		}
		f.want(journal.Passed, steps, "a b build c")
		f.damage("compile ", f.spoil)
		steps[1].Command.Shell, steps[2].Command.Shell = "check a -v", "check b -v"
		begun, all := 0, make(chan struct{}) // all have started from the damaged one
		f.onCheck = func(runner.SnapshotRef) { <-all }
		child := func(ctx context.Context, _ *runner.StepContext, in runner.ExecutorInput) (runner.StepResult, error) {
			if !strings.Contains(f.found(in.Step.Name), "damaged") {
				return runner.StepResult{}, nil
			}
			f.depot.mu.Lock()
			if begun++; begun == 3 {
				close(all)
			}
			f.depot.mu.Unlock()
			if late {
				return runner.StepResult{ExitCode: 1}, nil // not the fault of its command
			}
			<-ctx.Done()
			return runner.StepResult{}, ctx.Err()
		}
		f.steps = map[string]func(context.Context, *runner.StepContext, runner.ExecutorInput) (runner.StepResult, error){
			"check a -v": child, "check b -v": child, "check c": child,
		}
		ends, events := f.want(journal.Passed, steps, "a a b b build c c", func(r *engine.Request) { r.Jobs = 3 })
		f.wantStatus(ends["build"].Status, journal.Passed)
		for _, name := range []string{"a", "b", "c"} {
			if f.parents[name] != "compile " {
				t.Errorf("%s has passed on %q", name, f.parents[name])
			}
			wantNotice(t, events, name, "starts again")
		}
		wantNotice(t, events, "build", "made again")
		f.onCheck = nil
		f.want(journal.Passed, steps, "c")
		f.wantNothingHeld()
		f.wantValid(events)
	}
}

// found returns what a step has started from last.
func (f *shop) found(step string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.parents[step]
}

func TestDamagedAncestorsAreMadeAgain(t *testing.T) {
	f := newShop(t)
	steps := []pipeline.Step{
		step("a", "a", forever), step("b", "b", in("a"), forever), step("c", "c", in("b"), forever), step("d", "d", in("c"), forever),
	}
	f.want(journal.Passed, steps, "a b c d")
	for _, made := range []string{"a ", "a b ", "a b c "} {
		f.damage(made, f.spoil)
	}
	steps[3].Command.Shell = "d -v"
	ends, events := f.want(journal.Passed, steps, "a b b c c d d")
	for _, name := range []string{"a", "b", "c", "d"} {
		f.wantStatus(ends[name].Status, journal.Passed)
	}
	if f.parents["d"] != "a b c " {
		t.Errorf("d has passed on %q", f.parents["d"])
	}
	f.want(journal.Passed, steps, "")
	f.wantNothingHeld()
	f.wantValid(events)
}

// TestDamagedResultThatCannotBeMadeAgain: a command that fails is to blame for
// the run, and not the machine.
func TestDamagedResultThatCannotBeMadeAgain(t *testing.T) {
	for _, keepGoing := range []bool{false, true} {
		f := newShop(t)
		steps := []pipeline.Step{
			step("base", "prepare", forever), step("build", "compile", in("base"), forever),
			step("test", "check", in("build"), forever), step("later", "deploy", after("test")),
			step("other", "check other", in("build"), forever),
		}
		f.want(journal.Passed, steps, "base build later other test")
		f.damage("prepare compile ", f.spoil)
		f.damage("prepare ", f.spoil)
		steps[2].Command.Shell, steps[4].Command.Shell = "check -v", "check other -v"
		f.steps = map[string]func(context.Context, *runner.StepContext, runner.ExecutorInput) (runner.StepResult, error){"prepare": exits(7)}
		result, ends, events := f.run(t.Context(), &pipeline.Pipeline{Steps: steps}, func(r *engine.Request) { r.KeepGoing = keepGoing })
		f.wantStatus(result.Status, journal.Failed)
		f.wantStatus(ends["base"].Status, journal.Failed)
		for step, status := range map[string]journal.Status{
			"build": journal.Cancelled, "test": journal.Cancelled, "other": journal.Cancelled, "later": journal.Skipped,
		} {
			f.wantStatus(ends[step].Status, status)
			if ends[step].Cause != "base" {
				t.Errorf("%s is %s because of %q", step, ends[step].Status, ends[step].Cause)
			}
		}
		if took := f.took(); strings.Count(took, "base") != 1 {
			t.Errorf("%s were executed, base more than once", took)
		}
		f.wantValid(events)
		text := f.plain(result.RunID)
		for _, want := range []string{"base: note: its cached result cannot be used", "base: failed: exit code 7", "test: cancelled"} {
			if !strings.Contains(text, want) {
				t.Errorf("the picture of the run does not say %q:\n%s", want, text)
			}
		}
		f.steps = nil
		f.want(journal.Passed, steps, "base build later other test")
		f.wantNothingHeld()
	}
}

// wantValid checks events against the published schema.
func (f *fixture) wantValid(events []journal.Event) {
	f.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(journal.Schema()))
	if err != nil {
		f.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("journal.json", doc); err != nil {
		f.Fatal(err)
	}
	schema, err := c.Compile("journal.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range events {
		line, err := json.Marshal(e)
		if err != nil {
			f.Fatal(err)
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
		if err != nil {
			f.Fatal(err)
		}
		if err := schema.Validate(value); err != nil {
			f.Errorf("%s: %v", line, err)
		}
	}
}

// plain returns the run as it is shown without a terminal.
func (f *fixture) plain(id string) string {
	f.Helper()
	run, err := journal.Open(filepath.Join(engine.RunsDir(f.home), id))
	if err != nil {
		f.Fatal(err)
	}
	var text bytes.Buffer
	if err := render.Plain(&text, run.Follow(f.Context(), journal.FollowOptions{})); err != nil {
		f.Fatal(err)
	}
	return text.String()
}
