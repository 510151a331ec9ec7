package engine_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/strata-ci/strata/internal/engine"
	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

func TestSecondRunIsCached(t *testing.T) {
	f := newShop(t)
	steps := []pipeline.Step{step("build", "compile", forever), step("test", "check", in("build"), forever), step("lint", "vet", forever)}
	f.want(journal.Passed, steps, "build lint test")
	ends, events := f.want(journal.Passed, steps, "")
	for _, s := range steps {
		f.wantStatus(ends[s.Name].Status, journal.Cached)
		if ends[s.Name].From == nil || reasonOf(events, s.Name) != "hit" {
			t.Errorf("%s: %+v", s.Name, ends[s.Name])
		}
	}
	// A child of a hit starts from what that has left.
	steps[1].Command.Shell = "check -v"
	ends, events = f.want(journal.Passed, steps, "test")
	f.wantStatus(ends["build"].Status, journal.Cached)
	if f.parents["test"] != "compile " || reasonOf(events, "test") != "changed" {
		t.Errorf("test started from %q, for the reason %q", f.parents["test"], reasonOf(events, "test"))
	}
	f.wantNothingHeld()
}

func TestAnEditRunsOnlyWhatItReaches(t *testing.T) {
	f := newShop(t)
	f.write("a/file", "1")
	f.write("b/file", "1")
	steps := []pipeline.Step{
		step("a", "a", reads("a/**")), step("b", "b", reads("b/**")), step("c", "c", in("b"), forever), step("d", "d", after("a"), forever),
	}
	f.want(journal.Passed, steps, "a b c d")
	f.write("b/file", "2")
	f.want(journal.Passed, steps, "b c")
	f.write("elsewhere", "1")
	f.want(journal.Passed, steps, "")
	f.write("b/file", "1") // and back
	f.want(journal.Passed, steps, "")
}

func (f *fixture) write(name, text string) {
	f.Helper()
	path := filepath.Join(f.project, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		f.Fatal(err)
	}
}

func TestPolicies(t *testing.T) {
	f := newShop(t)
	ttl := pipeline.CachePolicy{Kind: pipeline.CacheTTL, TTL: pipeline.Duration(time.Hour)}
	steps := []pipeline.Step{
		step("none", "1"),
		step("ttl", "2", cached(ttl)),
		step("on_change", "3", reads("file")),
		step("all", "4", cached(pipeline.CachePolicy{Kind: pipeline.CacheAll, All: []pipeline.CachePolicy{ttl, {Kind: pipeline.CacheOnChange, Paths: []string{"file"}}}})),
		step("child", "5", in("ttl"), forever),
	}
	f.want(journal.Passed, steps, "all child none on_change ttl")
	f.want(journal.Passed, steps, "none")
	f.ahead = 2 * time.Hour
	f.want(journal.Passed, steps, "all child none ttl")
	f.want(journal.Passed, steps, "none")
	f.write("file", "other")
	f.want(journal.Passed, steps, "all none on_change")
}

func TestNoCacheKeepsWhatItMakes(t *testing.T) {
	f := newShop(t)
	steps := []pipeline.Step{step("a", "a", forever), step("b", "b", in("a"), forever)}
	noCache := func(r *engine.Request) { r.NoCache = true }
	f.want(journal.Passed, steps, "a b", noCache)
	f.want(journal.Passed, steps, "")
	f.want(journal.Passed, steps, "a b", noCache)
	ends, _ := f.want(journal.Passed, steps, "")
	if n := len(f.snapshots); n != 2 {
		t.Errorf("%d snapshots are kept, want those of the last run", n)
	}
	if ref := runner.SnapshotRef(ends["a"].Snapshot); f.snapshots[ref] == nil {
		t.Errorf("the snapshot %s of the last result is gone", ref)
	}
}

func TestStepsWithTheSameKeyRunOnce(t *testing.T) {
	for _, noCache := range []bool{false, true} {
		f := newShop(t)
		steps := []pipeline.Step{
			step("a", "same", forever), step("b", "same", forever), step("c", "same", forever),
			step("child", "d", in("a"), forever), step("other", "e", in("b"), forever),
		}
		ends, _ := f.want(journal.Passed, steps, "a child other", func(r *engine.Request) { r.NoCache, r.Jobs = noCache, 1 })
		if from := ends["b"].From; ends["b"].Status != journal.Cached || from == nil || from.Step != "a" {
			t.Errorf("b ended as %+v", ends["b"])
		}
		f.want(journal.Passed, steps, "")
		f.wantNothingHeld()
	}
}

// onNotice calls fn once, when a notice has the text in it.
func onNotice(text string, fn func()) func(*engine.Request) {
	return func(r *engine.Request) {
		r.Watch = func(run *journal.Run) error {
			told := false
			for item, err := range run.Follow(context.Background(), journal.FollowOptions{}) {
				if err != nil {
					return err
				}
				if e := item.Event; !told && e != nil && e.Type == journal.Notice && strings.Contains(e.Message, text) {
					told = true
					fn()
				}
			}
			return nil
		}
	}
}

// TestTwoRunsDoTheirWorkOnce: the first run's step goes on, by how, only when
// the second run waits for it.
func TestTwoRunsDoTheirWorkOnce(t *testing.T) {
	type function = func(context.Context, *runner.StepContext, runner.ExecutorInput) (runner.StepResult, error)
	for _, tt := range []struct {
		how           string
		first         journal.Status
		again         string // what the second run executes
		second        journal.Status
		cancel, fails bool
	}{
		{how: "passes", first: journal.Passed, second: journal.Cached},
		{how: "fails", first: journal.Failed, again: "build", second: journal.Passed, fails: true},
		{how: "is cancelled", first: journal.Cancelled, again: "build", second: journal.Passed, cancel: true},
	} {
		t.Run(tt.how, func(t *testing.T) {
			f := newShop(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			begun, waiting := make(chan struct{}), make(chan struct{})
			first := true
			f.steps = map[string]function{"compile": func(ctx context.Context, _ *runner.StepContext, _ runner.ExecutorInput) (runner.StepResult, error) {
				f.mu.Lock()
				mine := first
				first = false
				f.mu.Unlock()
				if !mine {
					return runner.StepResult{}, nil
				}
				close(begun)
				<-waiting
				if tt.cancel {
					cancel()
					<-ctx.Done()
					return runner.StepResult{}, ctx.Err()
				}
				if tt.fails {
					return runner.StepResult{ExitCode: 1}, nil
				}
				return runner.StepResult{}, nil
			}}
			steps := []pipeline.Step{step("build", "compile", forever), step("test", "check", in("build"), forever)}
			one, two := f.engine(f.records), f.engine(f.openRecords())
			var wg sync.WaitGroup
			wg.Go(func() {
				result, _, _ := f.runOn(ctx, one, &pipeline.Pipeline{Steps: steps}, nil)
				f.wantStatus(result.Status, tt.first)
			})
			<-begun
			result, ends, _ := f.runOn(t.Context(), two, &pipeline.Pipeline{Steps: steps}, onNotice("waiting for its result", func() { close(waiting) }))
			wg.Wait()
			f.wantStatus(result.Status, journal.Passed)
			f.wantStatus(ends["build"].Status, tt.second)
			f.wantTook(strings.Join(strings.Fields("build "+tt.again+" test"), " "))
			f.want(journal.Passed, steps, "")
			f.wantNothingHeld()
		})
	}
}

func TestManyRunsDoTheirWorkOnce(t *testing.T) {
	f := newShop(t)
	var steps []pipeline.Step
	var all []string
	for i := range 6 {
		name := fmt.Sprint("s", i)
		change := []func(*pipeline.Step){forever}
		if i > 2 {
			change = append(change, in(fmt.Sprint("s", i-3)))
		}
		steps, all = append(steps, step(name, name, change...)), append(all, name)
	}
	var wg sync.WaitGroup
	for range 4 {
		e := f.engine(f.openRecords())
		wg.Go(func() {
			result, _, _ := f.runOn(t.Context(), e, &pipeline.Pipeline{Steps: steps}, nil)
			f.wantStatus(result.Status, journal.Passed)
		})
	}
	wg.Wait()
	f.wantTook(strings.Join(all, " "))
	f.wantNothingHeld()
}

// TestCancelWhileWaiting: a run that waits for another's result ends at once.
func TestCancelWhileWaiting(t *testing.T) {
	f := newShop(t)
	begun, release := make(chan struct{}), make(chan struct{})
	f.steps = map[string]func(context.Context, *runner.StepContext, runner.ExecutorInput) (runner.StepResult, error){
		"compile": func(context.Context, *runner.StepContext, runner.ExecutorInput) (runner.StepResult, error) {
			close(begun)
			<-release
			return runner.StepResult{}, nil
		},
	}
	steps := []pipeline.Step{step("build", "compile", forever)}
	one, two := f.engine(f.records), f.engine(f.openRecords())
	var wg sync.WaitGroup
	wg.Go(func() {
		result, _, _ := f.runOn(t.Context(), one, &pipeline.Pipeline{Steps: steps}, nil)
		f.wantStatus(result.Status, journal.Passed)
	})
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result, ends, events := f.runOn(ctx, two, &pipeline.Pipeline{Steps: steps}, onNotice("waiting for its result", cancel))
	close(release)
	wg.Wait()
	f.wantStatus(result.Status, journal.Cancelled)
	f.wantStatus(ends["build"].Status, journal.Cancelled)
	for _, e := range events {
		if e.Type == journal.Notice && !strings.Contains(e.Message, "waiting") {
			t.Errorf("unexpected notice %q", e.Message)
		}
	}
	f.want(journal.Passed, steps, "build") // by the first run, which was not disturbed
	f.wantNothingHeld()
}
