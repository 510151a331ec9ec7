package plan_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// TestEveryReason tells one story for each reason and looks at what people read.
func TestEveryReason(t *testing.T) {
	test := pipeline.Step{Name: "test", Command: shell("go test -v ./..."), Cache: onChange("**/*.go", "!*_test.go")}
	with := func(change func(*pipeline.Step)) pipeline.Step {
		s := test
		change(&s)
		return s
	}
	daily := with(func(s *pipeline.Step) { s.Cache = ttl(24 * time.Hour) })
	build := pipeline.Step{Name: "build", Command: shell("go build ./..."), Cache: onChange("*.go")}
	child := pipeline.Step{Name: "test", Command: shell("go test"), BuildsIn: "build", Cache: forever}
	for _, c := range []struct {
		name   string
		story  func(w *world) *plan.Plan
		reason plan.Reason
		want   string
	}{
		{"hit", func(w *world) *plan.Plan { w.run("r1", test); return w.decide(test) }, plan.ReasonHit, `
test is skipped: nothing changed since run r1
  its result is from run r1 (2030-01-02 03:04:05); the command took 2s`},
		{"policy", func(w *world) *plan.Plan { return w.decide(with(func(s *pipeline.Step) { s.Cache = nil })) }, plan.ReasonPolicy, `
test runs: its cache policy is none`},
		{"policy within a combination", func(w *world) *plan.Plan {
			return w.decide(with(func(s *pipeline.Step) { s.Cache = all(*forever, pipeline.CachePolicy{Kind: pipeline.CacheNone}) }))
		}, plan.ReasonPolicy, `
test runs: its cache policy is none`},
		{"no cache", func(w *world) *plan.Plan {
			w.run("r1", test)
			made, f := w.make(&pipeline.Pipeline{Steps: []pipeline.Step{test}}, plan.Options{}), w.facts()
			f.NoCache = true
			check(w.t, made.Decide(w.t.Context(), f))
			return made
		}, plan.ReasonNoCache, `
test runs: --no-cache was given`},
		{"runner", func(w *world) *plan.Plan { return w.decide(with(func(s *pipeline.Step) { s.Runner = "bare" })) }, plan.ReasonRunner, `
test runs: the runner "bare" keeps no results`},
		{"runner of the parent", func(w *world) *plan.Plan {
			b := build
			b.Runner = "bare"
			return w.decide(b, child)
		}, plan.ReasonRunner, `
test runs: the runner "bare" of the step build, which it builds in, keeps no results`},
		{"never ran", func(w *world) *plan.Plan { return w.decide(test) }, plan.ReasonNew, `
test runs: it never ran`},
		{"skipped", func(w *world) *plan.Plan {
			w.past.finish(&w.decide(test).Steps[0], "r1", "skipped", w.now)
			return w.decide(test)
		}, plan.ReasonNew, `
test runs: it never ran`},
		{"ran without a policy", func(w *world) *plan.Plan {
			w.run("r1", with(func(s *pipeline.Step) { s.Cache = nil }))
			return w.decide(test)
		}, plan.ReasonNew, `
test runs: it ran before, but no result of it was kept`},
		{"failed with another key", func(w *world) *plan.Plan {
			w.past.finish(&w.decide(test).Steps[0], "r1", "failed", w.now)
			w.files["main.go"] = "other"
			return w.decide(test)
		}, plan.ReasonFailed, `
test runs: it failed last time, in run r1`},
		{"failed", func(w *world) *plan.Plan {
			w.past.finish(&w.decide(test).Steps[0], "r1", "failed", w.now)
			return w.decide(test)
		}, plan.ReasonFailed, `
test runs: it failed last time, in run r1`},
		{"timed out", func(w *world) *plan.Plan {
			w.past.finish(&w.decide(test).Steps[0], "r1", "timed_out", w.now)
			return w.decide(test)
		}, plan.ReasonFailed, `
test runs: it ran out of time last time, in run r1`},
		{"ttl over", func(w *world) *plan.Plan {
			w.run("r1", daily)
			w.now = w.now.Add(24 * time.Hour)
			return w.decide(daily)
		}, plan.ReasonTTL, `
test runs: its result is 1 day old, and the policy allows 24h
  there is a result of run r1 (2030-01-02 03:04:05)`},
		{"not over yet", func(w *world) *plan.Plan {
			w.run("r1", daily)
			w.now = w.now.Add(24*time.Hour - time.Second)
			return w.decide(daily)
		}, plan.ReasonHit, `
test is skipped: nothing changed since run r1
  its result is from run r1 (2030-01-02 03:04:05); the command took 2s`},
		{"clock set back", func(w *world) *plan.Plan {
			w.run("r1", daily)
			w.now = w.now.AddDate(-2, 0, 0)
			return w.decide(daily)
		}, plan.ReasonFuture, `
test runs: its result is from 731 days in the future: the clock was set back, so that its age is unknown
  there is a result of run r1 (2030-01-02 03:04:05)`},
		{"clock set back a little", func(w *world) *plan.Plan {
			w.run("r1", daily)
			w.now = w.now.Add(-time.Minute)
			return w.decide(daily)
		}, plan.ReasonHit, `
test is skipped: nothing changed since run r1
  its result is from run r1 (2030-01-02 03:04:05); the command took 2s`},
		{"without a ttl the clock has no say", func(w *world) *plan.Plan {
			w.run("r1", test)
			w.now = w.now.AddDate(-20, 0, 0)
			return w.decide(test)
		}, plan.ReasonHit, `
test is skipped: nothing changed since run r1
  its result is from run r1 (2030-01-02 03:04:05); the command took 2s`},
		{"evicted", func(w *world) *plan.Plan {
			made := w.run("r1", test)
			w.past.evict(&made.Steps[0], w.now, "to stay below max_bytes")
			w.now = w.now.Add(3 * time.Hour)
			return w.decide(test)
		}, plan.ReasonEvicted, `
test runs: its result was removed 3h ago to stay below max_bytes
  the result of run r1 was removed (2030-01-02 03:04:05) to stay below max_bytes`},
		{"not kept", func(w *world) *plan.Plan {
			made := w.run("r1", test)
			delete(w.past.entries, made.Steps[0].Key)
			return w.decide(test)
		}, plan.ReasonNotKept, `
test runs: it passed in run r1, but its result was not kept`},
		{"renewed parent", func(w *world) *plan.Plan {
			b := build
			b.Cache = ttl(time.Hour)
			w.run("r1", b, child)
			w.now = w.now.Add(time.Hour)
			return w.decide(b, child)
		}, plan.ReasonParent, `
test runs: the result of the step build, which it builds in, is renewed by its ttl, and its own is from before
  there is a result of run r1 (2030-01-02 03:04:05)`},
		{"a file changed", func(w *world) *plan.Plan {
			w.run("r1", test)
			w.files["main.go"] = "other"
			return w.decide(test)
		}, plan.ReasonChanged, `
test runs: the input main.go changed
  compared with the result of run r1 (2030-01-02 03:04:05)
  input  main.go  contents`},
		{"files came and went", func(w *world) *plan.Plan {
			w.run("r1", test)
			w.modes["main.go"] = 0o755
			delete(w.files, "lib/lib.go")
			w.files["new.go"] = ""
			w.files["ignored_test.go"] = ""
			return w.decide(test)
		}, plan.ReasonChanged, `
test runs: the input main.go: file 0644 → file 0755, and 2 more changes
  compared with the result of run r1 (2030-01-02 03:04:05)
  input  main.go     file 0644 → file 0755
  input  new.go      added
  input  lib/lib.go  removed`},
		{"the command", func(w *world) *plan.Plan {
			w.run("r1", test)
			return w.decide(with(func(s *pipeline.Step) { s.Command = shell("go test -race ./...") }))
		}, plan.ReasonChanged, `
test runs: the command changed: word 3: -v → -race
  compared with the result of run r1 (2030-01-02 03:04:05)
  command  word 3  -v → -race`},
		{"more of the command", func(w *world) *plan.Plan {
			w.run("r1", test)
			return w.decide(with(func(s *pipeline.Step) { s.Command = shell("go test -v -count 1 ./...") }))
		}, plan.ReasonChanged, `
test runs: the command changed: word 4: -count 1 is new
  compared with the result of run r1 (2030-01-02 03:04:05)
  command  word 4  nothing → -count 1`},
		{"spaces in the command", func(w *world) *plan.Plan {
			w.run("r1", test)
			return w.decide(with(func(s *pipeline.Step) { s.Command = shell("go  test -v ./...") }))
		}, plan.ReasonChanged, `
test runs: the command's white space changed
  compared with the result of run r1 (2030-01-02 03:04:05)
  command  white space  changed`},
		{"variables", func(w *world) *plan.Plan {
			w.run("r1", with(func(s *pipeline.Step) { s.Env = map[string]string{"TOKEN": "hunter2", "OLD": "1"} }))
			return w.decide(with(func(s *pipeline.Step) { s.Env = map[string]string{"TOKEN": "swordfish", "NEW": "1"} }))
		}, plan.ReasonChanged, `
test runs: the environment variable NEW is new, and 2 more changes
  compared with the result of run r1 (2030-01-02 03:04:05)
  environment  NEW    added
  environment  OLD    removed
  environment  TOKEN  changed`},
		{"the image", func(w *world) *plan.Plan {
			w.run("r1", test)
			w.image = map[string]string{"packages": "p2"}
			return w.decide(test)
		}, plan.ReasonChanged, `
test runs: the image's packages changed
  compared with the result of run r1 (2030-01-02 03:04:05)
  image  packages  p1 → p2`},
		{"the parent's input", func(w *world) *plan.Plan {
			w.run("r1", build, child)
			w.files["main.go"] = "other"
			return w.decide(build, child)
		}, plan.ReasonChanged, `
test runs: build changed: the input main.go changed
  compared with the result of run r1 (2030-01-02 03:04:05)
  builds_in     build    changed
  build: input  main.go  contents`},
		{"an input of the parent, too", func(w *world) *plan.Plan {
			c := child
			c.Cache = test.Cache
			w.run("r1", build, c)
			w.files["main.go"] = "other"
			return w.decide(build, c)
		}, plan.ReasonChanged, `
test runs: the input main.go changed
  compared with the result of run r1 (2030-01-02 03:04:05)
  input         main.go  contents
  builds_in     build    changed
  build: input  main.go  contents`},
		{"an uncached parent", func(w *world) *plan.Plan {
			b := build
			b.Cache = nil
			w.run("r1", b, child)
			w.files["main.go"] = "other"
			return w.decide(b, child)
		}, plan.ReasonChanged, `
test runs: the step build, which it builds in, changed; all files of the workspace count for it, for it has no cache policy and no inputs
  compared with the result of run r1 (2030-01-02 03:04:05)
  builds_in  build  changed`},
		{"the nearest result", func(w *world) *plan.Plan {
			w.run("r1", test)
			w.files["main.go"] = "other"
			w.run("r2", with(func(s *pipeline.Step) { s.Command, s.Dir = shell("other"), "lib" }))
			return w.decide(test)
		}, plan.ReasonChanged, `
test runs: the input main.go changed
  compared with the result of run r1 (2030-01-02 03:04:05)
  input  main.go  contents`},
		{"many changes", func(w *world) *plan.Plan {
			w.run("r1", test)
			for i := range plan.MaxChanges + 7 {
				w.files[fmt.Sprintf("gen/%02d.go", i)] = ""
			}
			made := w.decide(test)
			d := &made.Steps[0].Decision
			if len(d.Changes) != plan.MaxChanges || d.MoreChanges != 7 {
				w.t.Errorf("%d changes and %d more", len(d.Changes), d.MoreChanges)
			}
			d.Changes = d.Changes[:1] // enough to read
			return made
		}, plan.ReasonChanged, `
test runs: the input gen/00.go is new, and 26 more changes
  compared with the result of run r1 (2030-01-02 03:04:05)
  input  gen/00.go  added
  and 7 more`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.files = map[string]string{"main.go": "package main", "lib/lib.go": "package lib", "README": ""}
			made := c.story(w)
			i := slices.IndexFunc(made.Steps, func(s plan.Step) bool { return s.Name == "test" })
			d := made.Steps[i].Decision
			if d.Reason != c.reason {
				t.Errorf("the reason is %q, want %q", d.Reason, c.reason)
			}
			if diff := cmp.Diff(strings.TrimPrefix(c.want, "\n")+"\n", headline(&d)+plan.Explain(&d)); diff != "" {
				t.Errorf("want (-), got (+):\n%s", diff)
			}
			if strings.Contains(d.Message, "\n") {
				t.Errorf("the message has several lines: %q", d.Message)
			}
		})
	}
}

func TestChildrenOfATTL(t *testing.T) {
	w := newWorld(t)
	w.files["a"] = ""
	steps := []pipeline.Step{ // defined before what they build in
		{Name: "leaf", Command: shell("leaf"), BuildsIn: "middle", Cache: forever},
		{Name: "middle", Command: shell("middle"), BuildsIn: "base"},
		{Name: "base", Command: shell("base"), Cache: ttl(time.Hour)},
	}
	reasons := func(p *plan.Plan) string {
		var list []string
		for _, s := range p.Steps {
			list = append(list, string(s.Decision.Reason))
		}
		return strings.Join(list, " ")
	}
	expect := func(what string, p *plan.Plan, want string) {
		t.Helper()
		if got := reasons(p); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	first := w.run("r1", steps...)
	// The model writes entries in the order of the steps; a run would not.
	w.past.entries[first.Steps[0].Key].Seq, w.past.entries[first.Steps[2].Key].Seq = 2, 1
	expect("at once", w.decide(steps...), "hit policy_none hit")
	w.now = w.now.Add(time.Hour)
	over := w.decide(steps...)
	expect("when the ttl is over", over, "parent policy_none ttl_over")
	w.past.finish(&over.Steps[2], "r2", "passed", w.now) // and the leaf fails
	renewed := w.decide(steps...)
	expect("when only the base was renewed", renewed, "parent policy_none hit")
	w.past.finish(&renewed.Steps[0], "r3", "passed", w.now)
	expect("when all are renewed", w.decide(steps...), "hit policy_none hit")
}

func TestAllAllowsWhatEachDoes(t *testing.T) {
	w := newWorld(t)
	w.files["a"], w.files["b"] = "", ""
	step := pipeline.Step{Name: "s", Command: shell("s"), Cache: all(*ttl(2 * time.Hour), *onChange("a"), *ttl(time.Hour), *forever)}
	w.run("r1", step)
	start := w.now
	reason := func() plan.Reason { return w.decide(step).Steps[0].Decision.Reason }
	w.files["b"] = "other"
	if got := reason(); got != plan.ReasonHit {
		t.Errorf("a file that is no input: %s", got)
	}
	w.now = start.Add(90 * time.Minute)
	if got := reason(); got != plan.ReasonTTL {
		t.Errorf("after the shorter ttl: %s", got)
	}
	w.now, w.files["a"] = start, "other"
	if got := reason(); got != plan.ReasonChanged {
		t.Errorf("an input changed: %s", got)
	}
}

func TestWhatIsKept(t *testing.T) {
	w := newWorld(t)
	w.files["a"] = ""
	steps := []pipeline.Step{
		{Name: "uncached", Command: shell("1")},
		{Name: "parent", Command: shell("2")},
		{Name: "child", Command: shell("3"), BuildsIn: "parent", Cache: forever},
		{Name: "cannot", Command: shell("4"), Runner: "bare", Cache: forever},
		{Name: "waits", Command: shell("5"), DependsOn: []string{"uncached"}},
	}
	actions := func(p *plan.Plan) []runner.CacheDecision {
		var list []runner.CacheDecision
		for _, s := range p.Steps {
			list = append(list, s.Cache)
		}
		return list
	}
	none, build := runner.CacheDecision{}, runner.CacheDecision{Action: runner.MissBuildAs}
	if diff := cmp.Diff([]runner.CacheDecision{none, build, build, none, none}, actions(w.run("r1", steps...))); diff != "" {
		t.Errorf("first: want (-), got (+):\n%s", diff)
	}
	hit := runner.CacheDecision{Action: runner.Hit, Ref: "r1.child"}
	if diff := cmp.Diff([]runner.CacheDecision{none, build, hit, none, none}, actions(w.decide(steps...))); diff != "" {
		t.Errorf("second: want (-), got (+):\n%s", diff)
	}
}

func TestPatternsThatMatchNothingAreFaults(t *testing.T) {
	w := newWorld(t)
	w.files = map[string]string{"src/main.go": "", "src/deep/x.proto": "", "Makefile": "", "go.mod": ""}
	steps := []pipeline.Step{
		{Name: "fine", Command: shell("x"), Inputs: []string{"src/**", "!*.rb"}, Cache: forever},
		{
			Name: "bad", Command: shell("x"), Pos: pipeline.Position{File: "ci.star", Line: 7, Col: 3},
			Inputs: []string{"go.mod", "scr/**/*.go", "Makfile", "src/**/*.prot"}, Cache: all(*forever, *onChange("!src", "nothing-like-it")),
		},
		{Name: "only out", Command: shell("x"), Inputs: []string{"!a"}},
	}
	steps[2].Name = "out"
	made := w.make(&pipeline.Pipeline{Steps: steps}, plan.Options{})
	var faults pipeline.Faults
	if err := made.Decide(t.Context(), w.facts()); !errors.As(err, &faults) {
		t.Fatalf("the error is %v", err)
	}
	var got []string
	for _, f := range faults {
		message, _, _ := strings.Cut(f.Message, ":")
		got = append(got, f.Path+" "+f.Step+" "+f.Pos.String()+" "+message)
	}
	want := []string{
		`steps[1].inputs[1] bad ci.star:7:3 the pattern "scr/**/*.go" matches nothing in the workspace (did you mean "src/**/*.go"?)`,
		`steps[1].inputs[2] bad ci.star:7:3 the pattern "Makfile" matches nothing in the workspace (did you mean "Makefile"?)`,
		`steps[1].inputs[3] bad ci.star:7:3 the pattern "src/**/*.prot" matches nothing in the workspace (did you mean "src/**/*.proto"?)`,
		`steps[1].cache.all[1].paths[1] bad ci.star:7:3 the pattern "nothing-like-it" matches nothing in the workspace`,
		`steps[2].inputs out  the patterns ["!a"] only take out`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

func TestJudgeEntriesOfOthers(t *testing.T) {
	w := newWorld(t)
	s := &w.decide(pipeline.Step{Name: "s", Command: shell("s"), Cache: ttl(time.Hour)}).Steps[0]
	born := plan.Origin{Run: "other", Time: w.now}
	for age, want := range map[time.Duration]plan.Reason{0: plan.ReasonHit, time.Hour: plan.ReasonTTL, -time.Hour: plan.ReasonFuture} {
		if got := s.Judge(&plan.Entry{Key: s.Key, Origin: born}, w.now.Add(age)); got != want {
			t.Errorf("at the age of %s: %s, want %s", age, got, want)
		}
	}
}

// TestAFullyCachedPlanAsksOncePerStep bounds what a plan of many steps costs.
func TestAFullyCachedPlanAsksOncePerStep(t *testing.T) {
	w := newWorld(t)
	w.files["a"] = ""
	steps := chain(100)
	w.run("r1", steps...)
	w.past.asked = 0
	w.decide(steps...)
	if w.past.asked != len(steps) {
		t.Errorf("%d questions for %d steps", w.past.asked, len(steps))
	}
}

func chain(n int) []pipeline.Step {
	steps := make([]pipeline.Step, n)
	for i := range steps {
		steps[i] = pipeline.Step{Name: fmt.Sprintf("s%d", i), Command: shell(fmt.Sprintf("echo %d", i)), Cache: onChange("*")}
		if i > 0 {
			steps[i].BuildsIn = steps[i-1].Name
		}
	}
	return steps
}

// BenchmarkDecide decides about a chain of 1,000 steps: all hits, and all
// changed by an input of the first.
func BenchmarkDecide(b *testing.B) {
	w := newWorld(b)
	for i := range 100 {
		w.files[fmt.Sprintf("f%d", i)] = ""
	}
	steps := chain(1000)
	w.run("r1", steps...)
	for name, content := range map[string]string{"hits": "", "changed": "other"} {
		b.Run(name, func(b *testing.B) {
			w.files["f1"] = content
			made, facts := w.make(&pipeline.Pipeline{Steps: steps}, plan.Options{}), w.facts()
			for b.Loop() {
				check(b, made.Decide(b.Context(), facts))
			}
		})
	}
}

func headline(d *plan.Decision) string {
	verb := "runs"
	if d.Hit() {
		verb = "is skipped"
	}
	return "test " + verb + ": " + d.Message + "\n"
}
