package plan_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// TestImageIsIdentifiedWithTheWholeEnvironment: what of the machine a step sees
// depends on its PATH, wherever that comes from.
func TestImageIsIdentifiedWithTheWholeEnvironment(t *testing.T) {
	w := newWorld(t)
	path := func(value string) map[string]string { return map[string]string{"PATH": value} }
	p := &pipeline.Pipeline{Env: path("/pipeline"), Steps: []pipeline.Step{
		{Name: "inherits", Command: shell("a"), Cache: forever},
		{Name: "own", Command: shell("a"), Cache: forever, Env: path("/own")},
		{Name: "same", Command: shell("b"), Cache: forever, Env: path("/own")},
		{Name: "child", Command: shell("a"), Cache: forever, Env: path("/own"), BuildsIn: "own"},
		{Name: "differs", Command: shell("a"), Cache: forever, Env: path("/child"), BuildsIn: "own"},
		{Name: "below", Command: shell("a"), Cache: forever, Env: path("/child"), BuildsIn: "differs"},
		{Name: "args", Command: shell("a"), Cache: forever, Env: path("/own"), BuildsIn: "own", RunnerArgs: []byte(`{"host_paths": ["/opt"]}`)},
	}}
	made := w.make(p, plan.Options{Env: map[string]string{"MORE": "x"}})
	asked := map[string]string{}
	tools := map[string]string{}
	facts := w.facts()
	facts.Identify = func(_ context.Context, _ runner.StepRunner, s pipeline.Step) (map[string]string, error) {
		asked[s.Name] = s.Env["PATH"]
		if s.Env["CI"] != "true" || s.Env["MORE"] != "x" {
			t.Errorf("%s was asked about with the environment %v", s.Name, s.Env)
		}
		return map[string]string{"tools": s.Env["PATH"] + tools[s.Env["PATH"]]}, nil
	}
	keys := func() map[string]plan.Key {
		t.Helper()
		check(t, made.Decide(t.Context(), facts))
		all := map[string]plan.Key{}
		for _, s := range made.Steps {
			all[s.Name] = s.Key
		}
		return all
	}
	before := keys()
	want := map[string]string{"inherits": "/pipeline", "own": "/own", "differs": "/child", "args": "/own"}
	if !maps.Equal(asked, want) {
		t.Errorf("asked about %v, want %v", asked, want)
	}
	for path, changes := range map[string]string{
		"/pipeline": "inherits", "/child": "below differs", "/own": "args below child differs own same",
	} {
		clear(tools)
		tools[path] = " and one more"
		var changed []string
		for name, key := range keys() {
			if key != before[name] {
				changed = append(changed, name)
			}
		}
		slices.Sort(changed)
		if got := strings.Join(changed, " "); got != changes {
			t.Errorf("a tool in %s changes the keys of %q, want %q", path, got, changes)
		}
	}
}

func TestHitWhoseSnapshotIsGone(t *testing.T) {
	w := newWorld(t)
	parent := pipeline.Step{Name: "parent", Command: shell("a"), Cache: forever}
	child := pipeline.Step{Name: "child", Command: shell("b"), Cache: forever, BuildsIn: "parent"}
	first := w.run("r1", parent, child)
	ref := w.past.entries[first.Steps[0].Key].Ref
	for _, tt := range []struct {
		err    error
		reason plan.Reason
	}{
		{&runner.InfraError{Op: "check", Kind: runner.KindSnapshot, Err: errors.New("the layer 7 is gone")}, plan.ReasonDamaged},
		{errors.New("nobody knows"), plan.ReasonHit}, // who uses it finds out
		{nil, plan.ReasonHit},
	} {
		made := w.make(&pipeline.Pipeline{Steps: []pipeline.Step{parent, child}}, plan.Options{})
		facts := w.facts()
		facts.Check = func(_ context.Context, r runner.StepRunner, asked runner.SnapshotRef) error {
			if r.Name() != "keeping" {
				t.Errorf("the runner %s was asked", r.Name())
			}
			if asked == ref {
				return tt.err
			}
			return nil
		}
		check(t, made.Decide(t.Context(), facts))
		decision := made.Steps[0].Decision
		if decision.Reason != tt.reason || !made.Steps[1].Decision.Hit() {
			t.Errorf("the reasons are %s and %s, want %s and hit", decision.Reason, made.Steps[1].Decision.Reason, tt.reason)
		}
		damaged := tt.reason == plan.ReasonDamaged
		if damaged && (!strings.Contains(decision.Message, "the layer 7 is gone") || decision.Nearest == nil || decision.Nearest.Run != "r1") {
			t.Errorf("the decision is %+v", decision)
		}
		if action := made.Steps[0].Cache.Action; damaged != (action == runner.MissBuildAs) {
			t.Errorf("the action is %v", action)
		}
	}
}
