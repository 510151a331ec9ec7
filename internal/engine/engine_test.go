package engine_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/strata-ci/strata/internal/cache"
	"github.com/strata-ci/strata/internal/engine"
	"github.com/strata-ci/strata/internal/history"
	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/internal/records"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// script is a user's own runner: what a step does is a Go function, found by
// the step's command.
type script struct {
	name  string
	steps map[string]func(context.Context, *runner.StepContext, runner.ExecutorInput) (runner.StepResult, error)

	mu     sync.Mutex
	inputs map[string]runner.ExecutorInput
	reaped []runner.SnapshotRef
}

func (s *script) Name() string { return s.name }

func (s *script) Execute(ctx context.Context, sc *runner.StepContext, in runner.ExecutorInput) (runner.StepResult, error) {
	s.mu.Lock()
	if s.inputs == nil {
		s.inputs = map[string]runner.ExecutorInput{}
	}
	s.inputs[in.Step.Name] = in
	s.mu.Unlock()
	if f := s.steps[in.Step.Command.Shell]; f != nil {
		return f(ctx, sc, in)
	}
	fmt.Fprintf(sc.Stdout, "%s ran\n", in.Step.Name)
	return runner.StepResult{Snapshot: in.Cache.Ref}, nil
}

func (s *script) ReapSnapshots(_ context.Context, refs []runner.SnapshotRef) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reaped = append(s.reaped, refs...)
	return nil
}

func wait(ctx context.Context, _ *runner.StepContext, _ runner.ExecutorInput) (runner.StepResult, error) {
	<-ctx.Done()
	return runner.StepResult{}, ctx.Err()
}

func exits(code int) func(context.Context, *runner.StepContext, runner.ExecutorInput) (runner.StepResult, error) {
	return func(context.Context, *runner.StepContext, runner.ExecutorInput) (runner.StepResult, error) {
		return runner.StepResult{ExitCode: code}, nil
	}
}

type fixture struct {
	*testing.T
	home, project string
	runner        *script
	runners       []runner.StepRunner // besides it
	records       *records.DB
	ahead         time.Duration // of the clock
	backoff       func(int) time.Duration
	failures      cache.FailureLimits
}

func (f *fixture) engine(db *records.DB) *engine.Engine {
	now := func() time.Time { return time.Now().Add(f.ahead) }
	reapers := map[string]runner.SnapshotReaper{}
	for _, r := range f.runners {
		reapers[r.Name()] = r.(runner.SnapshotReaper)
	}
	return &engine.Engine{
		Home: f.home, Now: now, Random: rand.Reader,
		Cache: cache.New(db, filepath.Join(f.home, "cache"), now), History: history.Open(db),
		Limits: cache.Limits{MaxBytes: 1 << 30, Failures: f.failures}, Reapers: reapers,
		Free:    func() (int64, error) { return 1 << 40, nil },
		Backoff: f.backoff,
	}
}

func (f *fixture) openRecords() *records.DB {
	f.Helper()
	db, err := records.Open(f.home, records.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { db.Close() })
	return db
}

func setup(t *testing.T) *fixture {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	project := t.TempDir()
	if err := os.WriteFile(filepath.Join(project, "file"), []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	f := &fixture{
		T: t, home: t.TempDir(), project: project, runner: &script{name: "script"},
		backoff: func(int) time.Duration { return 0 }, failures: cache.FailureLimits{Count: 10, Bytes: 1 << 30, Age: time.Hour},
	}
	f.records = f.openRecords()
	return f
}

func (f *fixture) run(ctx context.Context, p *pipeline.Pipeline, change func(*engine.Request)) (engine.Result, map[string]journal.Event, []journal.Event) {
	f.Helper()
	return f.runOn(ctx, f.engine(f.records), p, change)
}

func (f *fixture) runOn(ctx context.Context, e *engine.Engine, p *pipeline.Pipeline, change func(*engine.Request)) (engine.Result, map[string]journal.Event, []journal.Event) {
	f.Helper()
	var registry runner.Registry
	for _, r := range append(slices.Clip(f.runners), f.runner) {
		if err := registry.Register(r); err != nil {
			f.Error(err)
		}
	}
	p.Version, p.Name = pipeline.Version, "ci"
	made, err := plan.Make(p, &registry, plan.Options{})
	if err != nil {
		f.Error(err)
		return engine.Result{}, nil, nil
	}
	req := engine.Request{Plan: made, Project: f.project, Jobs: 2}
	if change != nil {
		change(&req)
	}
	result, err := e.Run(ctx, req)
	if err != nil {
		f.Error(err)
		return engine.Result{}, nil, nil
	}
	run, err := journal.Open(filepath.Join(engine.RunsDir(f.home), result.RunID))
	if err != nil {
		f.Error(err)
		return engine.Result{}, nil, nil
	}
	events, err := run.Events()
	if err != nil {
		f.Error(err)
	}
	return result, f.ends(result, events), events
}

// ends returns how each step has ended, and checks that the journal is in order.
func (f *fixture) ends(result engine.Result, events []journal.Event) map[string]journal.Event {
	f.Helper()
	ends := map[string]journal.Event{}
	for _, ev := range events {
		was, ended := ends[ev.Step]
		switch ev.Type {
		case journal.StepStarted:
			if ended && was.Status != journal.Cached {
				f.Errorf("step %s started after it had ended", ev.Step)
			}
			delete(ends, ev.Step)
		case journal.StepFinished:
			if ended {
				f.Errorf("step %s ended twice", ev.Step)
			}
			ends[ev.Step] = ev
		}
	}
	if last := events[len(events)-1]; last.Type != journal.RunFinished || last.Status != result.Status || *last.ExitCode != engine.ExitCode(result.Status) {
		f.Errorf("the last event is %+v, want run_finished with the status %s", last, result.Status)
	}
	return ends
}

func (f *fixture) wantStatus(got, want journal.Status) {
	f.Helper()
	if got != want {
		f.Errorf("status %q, want %q", got, want)
	}
}

func step(name, command string, change ...func(*pipeline.Step)) pipeline.Step {
	s := pipeline.Step{Name: name, Command: pipeline.Command{Shell: command}}
	for _, c := range change {
		c(&s)
	}
	return s
}

func in(parent string) func(*pipeline.Step) { return func(s *pipeline.Step) { s.BuildsIn = parent } }

func after(names ...string) func(*pipeline.Step) {
	return func(s *pipeline.Step) { s.DependsOn = names }
}

func TestPassedRun(t *testing.T) {
	f := setup(t)
	p := &pipeline.Pipeline{
		Env:   map[string]string{"A": "pipeline", "B": "pipeline"},
		Steps: []pipeline.Step{step("build", "true"), step("test", "true", in("build")), step("lint", "true", after("build"))},
	}
	p.Steps[0].Env = map[string]string{"B": "step"}
	result, ends, events := f.run(t.Context(), p, nil)
	f.wantStatus(result.Status, journal.Passed)
	for _, name := range []string{"build", "test", "lint"} {
		f.wantStatus(ends[name].Status, journal.Passed)
	}
	build, test, lint := f.runner.inputs["build"], f.runner.inputs["test"], f.runner.inputs["lint"]
	if want := []string{"A=pipeline", "B=step", "CI=true", "STRATA=true"}; !slices.Equal(build.Env, want) {
		t.Errorf("environment %q, want %q", build.Env, want)
	}
	if build.Cache.Action != runner.MissBuildAs || build.Cache.Ref == "" {
		t.Errorf("a step with a child is to be committed for it, got %+v", build.Cache)
	}
	if test.Parent != build.Cache.Ref || lint.Parent != "" {
		t.Errorf("parents: test %q, lint %q, want %q and none", test.Parent, lint.Parent, build.Cache.Ref)
	}
	if test.Cache.Action != runner.MissNoCommit {
		t.Errorf("a step without children is not to be committed, got %+v", test.Cache)
	}
	if !slices.Equal(f.runner.reaped, []runner.SnapshotRef{build.Cache.Ref}) {
		t.Errorf("reaped %q, want the snapshot of build", f.runner.reaped)
	}
	if events[1].Type != journal.CaptureFinished || events[1].Capture.Files == 0 {
		t.Errorf("the second event is %+v, want the capture", events[1])
	}
}

func TestEndsOfSteps(t *testing.T) {
	infra := &runner.InfraError{Op: "boot", Kind: runner.KindLost, Err: errors.New("the machine is gone")}
	steps := map[string]func(context.Context, *runner.StepContext, runner.ExecutorInput) (runner.StepResult, error){
		"fail": exits(7), "wait": wait,
		"signal": func(context.Context, *runner.StepContext, runner.ExecutorInput) (runner.StepResult, error) {
			return runner.StepResult{ExitCode: -1, Signal: "SIGSEGV"}, nil
		},
		"slow": func(context.Context, *runner.StepContext, runner.ExecutorInput) (runner.StepResult, error) {
			return runner.StepResult{ExitCode: 0, TimedOut: true}, nil
		},
		"oom": func(context.Context, *runner.StepContext, runner.ExecutorInput) (runner.StepResult, error) {
			return runner.StepResult{ExitCode: 137, OutOfMemory: true}, nil
		},
		"infra": func(context.Context, *runner.StepContext, runner.ExecutorInput) (runner.StepResult, error) {
			return runner.StepResult{}, infra
		},
		"bare": func(context.Context, *runner.StepContext, runner.ExecutorInput) (runner.StepResult, error) {
			return runner.StepResult{}, syscall.ENOSPC
		},
	}
	for _, tt := range []struct {
		command string
		status  journal.Status
		exit    int
		check   func(journal.Event) bool
	}{
		{"fail", journal.Failed, 1, func(e journal.Event) bool { return *e.ExitCode == 7 }},
		{"signal", journal.Failed, 1, func(e journal.Event) bool { return e.ExitCode == nil && e.Signal == "SIGSEGV" }},
		{"slow", journal.TimedOut, 1, func(e journal.Event) bool { return *e.ExitCode == 0 }},
		{"oom", journal.Failed, 1, func(e journal.Event) bool { return e.OutOfMemory && *e.ExitCode == 137 }},
		{"infra", journal.InfraFailed, 3, func(e journal.Event) bool { return e.Error.Op == "boot" && e.Error.Kind == "lost" }},
		{"bare", journal.InfraFailed, 3, func(e journal.Event) bool { return e.Error.Kind == "disk_full" }},
	} {
		t.Run(tt.command, func(t *testing.T) {
			f := setup(t)
			f.runner.steps = steps
			result, ends, _ := f.run(t.Context(), &pipeline.Pipeline{Steps: []pipeline.Step{
				step("first", tt.command), step("child", "true", in("first")), step("grandchild", "true", after("child")), step("other", "wait"),
			}}, nil)
			f.wantStatus(result.Status, tt.status)
			f.wantStatus(ends["first"].Status, tt.status)
			if !tt.check(ends["first"]) {
				t.Errorf("unexpected end %+v", ends["first"])
			}
			if code := engine.ExitCode(result.Status); code != tt.exit {
				t.Errorf("exit code %d, want %d", code, tt.exit)
			}
			for _, name := range []string{"child", "grandchild"} {
				f.wantStatus(ends[name].Status, journal.Skipped)
				if ends[name].Cause != "first" {
					t.Errorf("%s is skipped because of %q, want first", name, ends[name].Cause)
				}
			}
			f.wantStatus(ends["other"].Status, journal.Cancelled)
			if ends["other"].Cause != "first" {
				t.Errorf("other is cancelled because of %q, want first", ends["other"].Cause)
			}
		})
	}
}

func TestKeepGoing(t *testing.T) {
	f := setup(t)
	f.runner.steps = map[string]func(context.Context, *runner.StepContext, runner.ExecutorInput) (runner.StepResult, error){"fail": exits(1)}
	result, ends, _ := f.run(t.Context(), &pipeline.Pipeline{Steps: []pipeline.Step{
		step("bad", "fail"), step("child", "true", in("bad")), step("good", "true"), step("late", "true", after("good")),
	}}, func(r *engine.Request) { r.KeepGoing, r.Jobs = true, 1 })
	f.wantStatus(result.Status, journal.Failed)
	f.wantStatus(ends["child"].Status, journal.Skipped)
	f.wantStatus(ends["good"].Status, journal.Passed)
	f.wantStatus(ends["late"].Status, journal.Passed)
}

func TestCancel(t *testing.T) {
	for range 50 { // the loop may hear of the step's end before the cancellation
		testCancel(t)
	}
}

func testCancel(t *testing.T) {
	t.Helper()
	f := setup(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	f.runner.steps = map[string]func(context.Context, *runner.StepContext, runner.ExecutorInput) (runner.StepResult, error){
		"wait": func(ctx context.Context, sc *runner.StepContext, in runner.ExecutorInput) (runner.StepResult, error) {
			cancel(errors.New("Ctrl-C received"))
			return wait(ctx, sc, in)
		},
	}
	result, ends, events := f.run(ctx, &pipeline.Pipeline{Steps: []pipeline.Step{
		step("running", "wait"), step("waiting", "true", after("running")),
	}}, nil)
	f.wantStatus(result.Status, journal.Cancelled)
	f.wantStatus(ends["running"].Status, journal.Cancelled)
	f.wantStatus(ends["waiting"].Status, journal.Cancelled)
	if !slices.ContainsFunc(events, func(e journal.Event) bool {
		return e.Type == journal.RunCancelling && strings.Contains(e.Message, "Ctrl-C")
	}) {
		t.Error("no event says that the run is being cancelled, and why")
	}
}

func TestPipelineTimeLimit(t *testing.T) {
	f := setup(t)
	f.runner.steps = map[string]func(context.Context, *runner.StepContext, runner.ExecutorInput) (runner.StepResult, error){"wait": wait}
	result, ends, _ := f.run(t.Context(), &pipeline.Pipeline{
		Timeout: pipeline.Duration(50 * time.Millisecond), Steps: []pipeline.Step{step("endless", "wait")},
	}, nil)
	f.wantStatus(result.Status, journal.TimedOut)
	f.wantStatus(ends["endless"].Status, journal.Cancelled)
}

func TestCaptureFailure(t *testing.T) {
	f := setup(t)
	f.project = filepath.Join(f.project, "no-such-directory")
	result, ends, events := f.run(t.Context(), &pipeline.Pipeline{Steps: []pipeline.Step{step("a", "true")}}, nil)
	f.wantStatus(result.Status, journal.InfraFailed)
	if len(ends) > 0 {
		t.Errorf("steps ended without a workspace: %v", ends)
	}
	if last := events[len(events)-1]; last.Error == nil || !strings.Contains(last.Error.Op, f.project) {
		t.Errorf("the error does not name the directory: %+v", last.Error)
	}
}

func TestWatchSeesTheWholeRun(t *testing.T) {
	f := setup(t)
	var output strings.Builder
	var types []journal.Type
	_, _, events := f.run(t.Context(), &pipeline.Pipeline{Steps: []pipeline.Step{step("a", "true"), step("b", "true", after("a"))}}, func(r *engine.Request) {
		r.Notices = []string{"a notice"}
		r.Watch = func(run *journal.Run) error {
			for item, err := range run.Follow(context.Background(), journal.FollowOptions{}) {
				if err != nil {
					return err
				}
				if item.Output != nil {
					output.Write(item.Output.Data)
				} else {
					types = append(types, item.Event.Type)
				}
			}
			return nil
		}
	})
	if output.String() != "a ran\nb ran\n" {
		t.Errorf("output %q", output.String())
	}
	if len(types) != len(events) || types[1] != journal.Notice {
		t.Errorf("the watcher saw %v of %d events", types, len(events))
	}
}
