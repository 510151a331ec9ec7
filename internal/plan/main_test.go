package plan_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/internal/workspace"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// bare is a runner that keeps no results. Plans never run anything.
type bare struct{ name string }

func (b bare) Name() string                     { return b.name }
func (b bare) SnapshotFormat() string           { return "test" }
func (b bare) ValidateStep(pipeline.Step) error { return nil }
func (b bare) Execute(context.Context, *runner.StepContext, runner.ExecutorInput) (runner.StepResult, error) {
	panic("a plan runs nothing")
}

// keeping is a runner that keeps results.
type keeping struct {
	bare
	image map[string]string
}

func (keeping) KeepSnapshots(context.Context, []runner.SnapshotRef) ([]runner.KeptSnapshot, error) {
	panic("a plan keeps nothing")
}

func (keeping) CheckSnapshot(context.Context, runner.SnapshotRef, runner.CheckDepth) error {
	panic("a plan checks nothing")
}

func (keeping) ReapSnapshots(context.Context, []runner.SnapshotRef) error {
	panic("a plan reaps nothing")
}

func (k keeping) IdentifyImage(context.Context, pipeline.Step) (map[string]string, error) {
	return k.image, nil
}

// world is what a plan is made in.
type world struct {
	t     testing.TB
	files map[string]string // of the workspace: content, or a target after "->"
	modes map[string]os.FileMode
	image map[string]string
	past  *past
	now   time.Time
}

func newWorld(t testing.TB) *world {
	t.Setenv("HOME", t.TempDir())
	return &world{
		t: t, files: map[string]string{}, modes: map[string]os.FileMode{},
		image: map[string]string{"packages": "p1"}, past: newPast(), now: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
	}
}

// view writes the files down and looks at them.
func (w *world) view() *workspace.View {
	w.t.Helper()
	root := w.t.TempDir()
	for _, name := range slices.Sorted(maps.Keys(w.files)) {
		path := filepath.Join(root, filepath.FromSlash(name))
		check(w.t, os.MkdirAll(filepath.Dir(path), 0o755))
		check(w.t, os.WriteFile(path, []byte(w.files[name]), 0o644))
		if mode, ok := w.modes[name]; ok {
			check(w.t, os.Chmod(path, mode))
		}
	}
	store, err := workspace.Open(filepath.Join(w.t.TempDir(), "state"), root, workspace.Options{})
	check(w.t, err)
	view, _, err := store.Look(w.t.Context())
	check(w.t, err)
	return view
}

func (w *world) make(p *pipeline.Pipeline, opts plan.Options) *plan.Plan {
	w.t.Helper()
	var registry runner.Registry
	check(w.t, registry.Register(keeping{bare{"keeping"}, w.image}))
	check(w.t, registry.Register(keeping{bare{"other"}, w.image}))
	check(w.t, registry.Register(bare{"bare"}))
	p.Version, p.Name = pipeline.Version, "ci"
	if opts.Runner == "" {
		opts.Runner = "keeping"
	}
	made, err := plan.Make(p, &registry, opts)
	check(w.t, err)
	return made
}

// decide makes a plan of the steps and decides.
func (w *world) decide(steps ...pipeline.Step) *plan.Plan {
	w.t.Helper()
	made := w.make(&pipeline.Pipeline{Steps: steps}, plan.Options{})
	check(w.t, made.Decide(w.t.Context(), w.facts()))
	return made
}

func (w *world) facts() plan.Facts {
	return plan.Facts{Project: "/project", Files: w.view(), Past: w.past, Now: w.now}
}

// run decides, and then remembers that all that was to run has passed.
func (w *world) run(name string, steps ...pipeline.Step) *plan.Plan {
	w.t.Helper()
	made := w.decide(steps...)
	for i := range made.Steps {
		w.past.finish(&made.Steps[i], name, "passed", w.now)
	}
	return made
}

// past is a model of the records.
type past struct {
	seq     int64
	entries map[plan.Key]*plan.Entry
	gone    map[plan.Key]*plan.Gone
	earlier map[string][]plan.Earlier
	ends    map[string]*plan.LastEnd
	took    map[string][]time.Duration
	inputs  map[plan.Digest][]plan.Input
	asked   int
}

func newPast() *past {
	return &past{
		entries: map[plan.Key]*plan.Entry{}, gone: map[plan.Key]*plan.Gone{}, earlier: map[string][]plan.Earlier{},
		ends: map[string]*plan.LastEnd{}, took: map[string][]time.Duration{}, inputs: map[plan.Digest][]plan.Input{},
	}
}

// finish remembers the end of a step, as the engine would.
func (p *past) finish(s *plan.Step, run, status string, now time.Time) {
	if s.Decision.Hit() {
		p.ends[s.Name] = &plan.LastEnd{Run: run, Status: "cached", Key: s.Key}
		return
	}
	p.ends[s.Name] = &plan.LastEnd{Run: run, Status: status, Key: s.Key}
	if status != "passed" || s.Key.IsZero() || s.Step.Cache == nil {
		return
	}
	p.seq++
	origin := plan.Origin{Run: run, Step: s.Name, Time: now}
	p.entries[s.Key] = &plan.Entry{
		Key: s.Key, Seq: p.seq, Origin: origin, Runner: s.Runner.Name(),
		Ref: runner.SnapshotRef(run + "." + s.Name), Duration: 2 * time.Second,
	}
	p.earlier[s.Name] = append([]plan.Earlier{{Origin: origin, Material: *s.Material}}, p.earlier[s.Name]...)
	p.took[s.Name] = append(p.took[s.Name], 2*time.Second)
	if s.Listed != nil {
		p.inputs[s.Material.Inputs] = s.Listed()
	}
}

// evict removes the entry of a step.
func (p *past) evict(s *plan.Step, now time.Time, rule string) {
	p.gone[s.Key] = &plan.Gone{Origin: p.entries[s.Key].Origin, Time: now, Rule: rule}
	delete(p.entries, s.Key)
}

func (p *past) Entry(_ context.Context, key plan.Key) (*plan.Entry, error) {
	p.asked++
	return p.entries[key], nil
}

func (p *past) Gone(_ context.Context, key plan.Key) (*plan.Gone, error) {
	p.asked++
	return p.gone[key], nil
}

func (p *past) Earlier(_ context.Context, id plan.StepID, n int) ([]plan.Earlier, error) {
	p.asked++
	list := p.earlier[id.Step]
	return list[:min(n, len(list))], nil
}

func (p *past) LastEnd(_ context.Context, id plan.StepID) (*plan.LastEnd, error) {
	p.asked++
	return p.ends[id.Step], nil
}

func (p *past) Durations(_ context.Context, id plan.StepID, n int) ([]time.Duration, error) {
	p.asked++
	list := p.took[id.Step]
	return list[:min(n, len(list))], nil
}

func (p *past) Inputs(_ context.Context, list plan.Digest) ([]plan.Input, error) {
	p.asked++
	return p.inputs[list], nil
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func shell(script string) pipeline.Command { return pipeline.Command{Shell: script} }

var forever = &pipeline.CachePolicy{Kind: pipeline.CacheForever}

func onChange(paths ...string) *pipeline.CachePolicy {
	return &pipeline.CachePolicy{Kind: pipeline.CacheOnChange, Paths: paths}
}

func ttl(d time.Duration) *pipeline.CachePolicy {
	return &pipeline.CachePolicy{Kind: pipeline.CacheTTL, TTL: pipeline.Duration(d)}
}

func all(policies ...pipeline.CachePolicy) *pipeline.CachePolicy {
	return &pipeline.CachePolicy{Kind: pipeline.CacheAll, All: policies}
}
