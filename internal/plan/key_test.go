package plan_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/internal/workspace"
	"github.com/strata-ci/strata/pipeline"
)

var update = flag.Bool("update", false, "write the golden files anew; raise plan.KeyVersion if a pre-image changed its meaning")

// TestGoldenPreimages pins what keys are made of: a change here invalidates
// every cache there is.
func TestGoldenPreimages(t *testing.T) {
	w := newWorld(t)
	w.files = map[string]string{"go.mod": "module m\n", "cmd/main.go": "package main\n", "run.sh": "#!/bin/sh\n"}
	w.modes["run.sh"] = 0o755
	w.image = map[string]string{"packages": "1234", "tools": "äöü"}
	made := w.decide(
		pipeline.Step{Name: "plain", Command: shell("make"), Cache: forever},
		pipeline.Step{
			Name: "full", Command: pipeline.Command{Args: []string{"go", "build", "", "a\nb"}}, Dir: "cmd", Image: "golang:1.26",
			Env: map[string]string{"B": "2", "A": ""}, RunnerArgs: json.RawMessage(`{ "b": [1.50, 1e400], "a": "<é>" }`), Network: "none",
			Resources: &pipeline.Resources{CPUs: 1.5, Memory: 1 << 30}, Cache: ttl(time.Hour), Inputs: []string{"go.mod", "cmd/", "*.sh"},
		},
		pipeline.Step{Name: "uncached", Command: shell("make")},
		pipeline.Step{Name: "child", Command: shell("make test"), BuildsIn: "uncached", Cache: onChange("**/*.go")},
	)
	for _, s := range made.Steps {
		m := *s.Material
		m.Platform = "linux/amd64"
		got := string(m.Preimage()) + "\nkey " + m.Key().String() + "\n"
		path := filepath.Join("testdata", s.Name+".golden")
		if *update {
			check(t, os.WriteFile(path, []byte(got), 0o644))
		}
		want, err := os.ReadFile(path)
		check(t, err)
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s", s.Name, diff)
		}
	}
}

// example draws a step with two files that it has as inputs.
func example(t *rapid.T) pipeline.Step {
	word := rapid.StringMatching(`[a-c =:\n]{0,4}`)
	name := rapid.StringMatching(`[A-C]{1,2}`)
	s := pipeline.Step{
		Name: "step", Command: pipeline.Command{Args: append([]string{"run"}, rapid.SliceOfN(word, 0, 3).Draw(t, "words")...)},
		Env: rapid.MapOfN(name, word, 0, 3).Draw(t, "env"), Cache: onChange("in/**"),
	}
	if rapid.Bool().Draw(t, "more") {
		s.Dir, s.Network, s.Image = "in", "none", "alpine:3"
		s.RunnerArgs = json.RawMessage(`{"a": 1, "b": {"c": [1, 2.50], "d": null}}`)
		s.Resources = &pipeline.Resources{CPUs: 2, Memory: 1 << 30}
	}
	return s
}

// keyOf decides about one step alone and returns its key.
func (w *world) keyOf(r *rapid.T, files plan.Files, s pipeline.Step, opts plan.Options) plan.Key {
	made := w.make(&pipeline.Pipeline{Steps: []pipeline.Step{s}}, opts)
	facts := plan.Facts{Project: "/project", Files: files, Now: w.now}
	if err := made.Decide(w.t.Context(), facts); err != nil {
		r.Fatal(err)
	}
	if made.Steps[0].Key.IsZero() {
		r.Fatal("the step has no key")
	}
	return made.Steps[0].Key
}

func TestAnyChangeOfAComponentChangesTheKey(t *testing.T) {
	w := newWorld(t)
	w.files = map[string]string{"in/a": "1", "in/d/b": "2", "out": "3"}
	files := w.view()
	changedFiles := map[string]plan.Files{}
	for what, change := range map[string]func(){
		"contents":   func() { w.files["in/a"] = "other" },
		"name":       func() { w.files["in/e"] = w.files["in/a"]; delete(w.files, "in/a") },
		"another":    func() { w.files["in/z"] = "" },
		"executable": func() { w.modes["in/a"] = 0o755 },
		"read-only":  func() { w.modes["in/a"] = 0o444 },
		"swapped":    func() { w.files["in/a"], w.files["in/d/b"] = w.files["in/d/b"], w.files["in/a"] },
	} {
		kept, modes := maps.Clone(w.files), maps.Clone(w.modes)
		change()
		changedFiles[what] = w.view()
		w.files, w.modes = kept, modes
	}
	changes := map[string]func(*pipeline.Step){
		"a word more":    func(s *pipeline.Step) { s.Command.Args = append(slices.Clone(s.Command.Args), "") },
		"words joined":   func(s *pipeline.Step) { s.Command.Args = []string{strings.Join(s.Command.Args, "\n") + "!"} },
		"a shell":        func(s *pipeline.Step) { s.Command = shell(strings.Join(s.Command.Args, " ")) },
		"a new variable": func(s *pipeline.Step) { s.Env = maps.Clone(s.Env); s.Env["NEW"] = "" },
		"directory":      func(s *pipeline.Step) { s.Dir = "in/d" },
		"runner":         func(s *pipeline.Step) { s.Runner = "other" },
		"image":          func(s *pipeline.Step) { s.Image += "x" },
		"runner_args":    func(s *pipeline.Step) { s.RunnerArgs = json.RawMessage(`{"a": 1.0, "b": {"c": [1, 2.50], "d": null}}`) },
		"order of a list": func(s *pipeline.Step) {
			s.RunnerArgs = json.RawMessage(`{"a": 1, "b": {"c": [2.50, 1], "d": null}}`)
		},
		"network": func(s *pipeline.Step) { s.Network = map[string]string{"": "none", "none": "host"}[s.Network] },
		"cpus":    func(s *pipeline.Step) { s.Resources = &pipeline.Resources{CPUs: 2.5, Memory: 1 << 30} },
		"memory":  func(s *pipeline.Step) { s.Resources = &pipeline.Resources{CPUs: 2, Memory: 1<<30 + 1} },
		"inputs":  func(s *pipeline.Step) { s.Inputs = []string{"out"} },
	}
	rapid.Check(t, func(r *rapid.T) {
		s := example(r)
		seen := map[plan.Key]string{w.keyOf(r, files, s, plan.Options{}): "no change"}
		expect := func(what string, key plan.Key) {
			if other, taken := seen[key]; taken {
				r.Fatalf("%q and %q have the same key", what, other)
			}
			seen[key] = what
		}
		for _, what := range slices.Sorted(maps.Keys(changes)) {
			c := s
			changes[what](&c)
			expect(what, w.keyOf(r, files, c, plan.Options{}))
		}
		for _, what := range slices.Sorted(maps.Keys(changedFiles)) {
			expect(what, w.keyOf(r, changedFiles[what], s, plan.Options{}))
		}
		expect("environment of the run", w.keyOf(r, files, s, plan.Options{Env: map[string]string{"MORE": ""}}))
		for _, name := range slices.Sorted(maps.Keys(s.Env)) {
			c := s
			c.Env = maps.Clone(s.Env)
			c.Env[name] += "x"
			expect("the variable "+name, w.keyOf(r, files, c, plan.Options{}))
		}
		was := w.image
		w.image = map[string]string{"packages": "p2"}
		expect("state of the image", w.keyOf(r, files, s, plan.Options{}))
		w.image = was
	})
}

func TestAParentsKeyIsInItsChildrens(t *testing.T) {
	w := newWorld(t)
	keys := map[plan.Key]bool{}
	for _, command := range []string{"a", "b"} {
		made := w.decide(
			pipeline.Step{Name: "base", Command: shell(command)}, // without a policy
			pipeline.Step{Name: "middle", Command: shell("m"), BuildsIn: "base"},
			pipeline.Step{Name: "leaf", Command: shell("l"), BuildsIn: "middle", Cache: forever},
		)
		if made.Steps[2].Material.Parent != made.Steps[1].Key || made.Steps[1].Material.Parent != made.Steps[0].Key {
			t.Error("the parent's key is not in the material")
		}
		for _, s := range made.Steps {
			if keys[s.Key] {
				t.Errorf("%s has the same key with another base", s.Name)
			}
			keys[s.Key] = true
		}
	}
}

func TestNothingElseChangesTheKey(t *testing.T) {
	w := newWorld(t)
	w.files = map[string]string{"in/a": "1", "in/d/b": "2", "in/ä": "3", "out": "4"}
	files := w.view()
	w.files["out"] = "other"
	w.files["more/out"] = ""
	elsewhere := w.view() // in another directory, with other times, and other files around the inputs
	// The same files from a capture with a history, in another place.
	root := t.TempDir()
	store, err := workspace.Open(filepath.Join(t.TempDir(), "state"), root, workspace.Options{})
	check(t, err)
	for _, name := range []string{"in/ä", "out", "in/d/b", "in/a"} { // in another order
		check(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
		check(t, os.WriteFile(filepath.Join(root, name), []byte(w.files[name]), 0o644))
		check(t, os.Chtimes(filepath.Join(root, name), time.Unix(1, 0), time.Unix(1, 0)))
		capture, _, err := store.Capture(t.Context())
		check(t, err)
		defer func() { check(t, capture.Close()) }()
	}
	captured, _, err := store.Capture(t.Context())
	check(t, err)
	defer func() { check(t, captured.Close()) }()
	views := []plan.Files{files, elsewhere, captured}

	changes := []func(*pipeline.Step){
		func(s *pipeline.Step) { s.Name = "renamed" },
		func(s *pipeline.Step) { s.Label = "a label" },
		func(s *pipeline.Step) { s.Pos = pipeline.Position{File: "ci.star", Line: 3, Col: 1} },
		func(s *pipeline.Step) { s.Timeout = pipeline.Duration(time.Hour) },
		func(s *pipeline.Step) { s.Runner = "keeping" }, // the default, by its name
		func(s *pipeline.Step) {
			if s.Network == "" {
				s.Network = "host"
			}
		},
		func(s *pipeline.Step) {
			if s.Image == "" {
				s.Image = "host"
			}
		},
		func(s *pipeline.Step) {
			if s.Dir == "" {
				s.Dir = "./"
			}
		},
		func(s *pipeline.Step) {
			if s.RunnerArgs != nil {
				s.RunnerArgs = json.RawMessage(" {\"b\" :{\"d\":null,\"c\":[1,2.50]},\n\"a\":1}")
			} else {
				s.RunnerArgs = json.RawMessage(` { } `)
			}
		},
		func(s *pipeline.Step) { s.Cache = onChange("in/*", "!nothing") }, // selects the same
		func(s *pipeline.Step) { s.Cache, s.Inputs = ttl(time.Hour), []string{"in/**"} },
		func(s *pipeline.Step) { // through the pipeline's JSON
			p := &pipeline.Pipeline{Version: pipeline.Version, Name: "ci", Steps: []pipeline.Step{*s}}
			back, err := pipeline.Decode(pipeline.Encode(p))
			check(t, err)
			*s = back.Steps[0]
		},
	}
	rapid.Check(t, func(r *rapid.T) {
		s := example(r)
		want := w.keyOf(r, files, s, plan.Options{})
		c := s
		for i, change := range changes {
			if rapid.Bool().Draw(r, fmt.Sprint("change ", i)) {
				change(&c)
			}
		}
		w.now = time.Unix(rapid.Int64Range(0, 1<<33).Draw(r, "now"), 0).In(rapid.SampledFrom([]*time.Location{time.UTC, time.FixedZone("x", 3600)}).Draw(r, "zone"))
		view := views[rapid.IntRange(0, len(views)-1).Draw(r, "view")]
		if got := w.keyOf(r, view, c, plan.Options{}); got != want {
			r.Errorf("%+v and %+v have different keys", s, c)
		}
	})
}

func TestUnrelatedEnvironmentIsNotInTheKey(t *testing.T) {
	w := newWorld(t)
	step := pipeline.Step{Name: "s", Command: shell("s"), Cache: forever}
	want := w.decide(step).Steps[0].Key
	for name, value := range map[string]string{"TZ": "Asia/Tokyo", "LANG": "de_DE.UTF-8", "LC_ALL": "C", "UNRELATED": "1", "PATH": "/bin"} {
		t.Setenv(name, value)
	}
	if got := w.decide(step).Steps[0].Key; got != want {
		t.Error("the engine's own environment changed the key")
	}
}

func TestValuesOfVariablesAreNotKept(t *testing.T) {
	w := newWorld(t)
	s := w.decide(pipeline.Step{Name: "s", Command: shell("s"), Env: map[string]string{"TOKEN": "hunter2"}, Cache: forever}).Steps[0]
	kept, err := json.Marshal(s.Material)
	check(t, err)
	if strings.Contains(string(kept)+string(s.Material.Preimage()), "hunter2") {
		t.Errorf("the value is kept: %s", kept)
	}
	var back plan.Material
	check(t, json.Unmarshal(kept, &back))
	if back.Key() != s.Key {
		t.Errorf("the material's JSON leads to another key: %s", kept)
	}
}

func TestListedInputsHaveTheDigest(t *testing.T) {
	w := newWorld(t)
	w.files = map[string]string{"a": "1", "a-b": "2", "a.d/c": "3", "z": ""}
	s := w.decide(pipeline.Step{Name: "s", Command: shell("s"), Inputs: []string{"a*"}, Cache: forever}).Steps[0]
	var paths []string
	for _, in := range s.Listed() {
		paths = append(paths, in.Path)
	}
	if got := strings.Join(paths, " "); got != "a a-b a.d a.d/c" {
		t.Errorf("the inputs are %q", got)
	}
	if plan.DigestInputs(s.Listed()) != s.Material.Inputs {
		t.Error("the list has another digest than the material")
	}
}

func FuzzKeyText(f *testing.F) {
	f.Add(strings.Repeat("0f", 32))
	f.Add(strings.Repeat("0F", 32))
	f.Add("")
	f.Add(strings.Repeat("g", 64))
	f.Fuzz(func(t *testing.T, text string) {
		var key plan.Key
		if err := key.UnmarshalText([]byte(text)); err != nil {
			if !key.IsZero() {
				t.Error("a key in spite of an error")
			}
			return
		}
		if got := key.String(); got != strings.ToLower(text) {
			t.Errorf("%q became %q", text, got)
		}
	})
}
