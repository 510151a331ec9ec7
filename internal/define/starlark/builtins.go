package starlark

import (
	"fmt"
	"maps"

	"go.starlark.net/starlark"

	"github.com/strata-ci/strata/pipeline"
)

type implementation = func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error)

// builtins are the functions of the language beyond Starlark's own.
func (s *session) builtins() starlark.StringDict {
	functions := map[string]implementation{
		"sh":        s.sh,
		"wait":      wait,
		"pipeline":  s.pipeline,
		"none":      simplePolicy(pipeline.CacheNone),
		"forever":   simplePolicy(pipeline.CacheForever),
		"ttl":       ttl,
		"on_change": onChange,
		"all_of":    allOf,
	}
	maps.Copy(functions, s.limits.guards())
	dict := make(starlark.StringDict, len(functions))
	for name, f := range functions {
		dict[name] = starlark.NewBuiltin(name, f)
	}
	return dict
}

// sh makes a step; as a method, one that builds in the receiver.
func (s *session) sh(thread *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	a := bind("sh", args, kwargs, 1, "command", "name", "label", "image", "runner", "runner_args", "env", "dir",
		"timeout", "retry", "retry_failed", "cache", "inputs", "network", "cpus", "memory", "after")
	st := &step{id: len(s.steps), module: s.loading[len(s.loading)-1], after: a.steps("after")}
	st.buildsIn, _ = b.Receiver().(*step)
	st.method = starlark.NewBuiltin("sh", s.sh).BindReceiver(st)
	st.spec = pipeline.Step{
		Name:        a.text("name"),
		Label:       a.text("label"),
		Command:     a.command("command"),
		Dir:         a.text("dir"),
		Env:         a.env("env"),
		Image:       a.text("image"),
		Runner:      a.text("runner"),
		RunnerArgs:  a.json("runner_args"),
		Timeout:     a.duration("timeout"),
		Retry:       a.retries("retry"),
		RetryFailed: a.retries("retry_failed"),
		Cache:       a.cache("cache"),
		Inputs:      a.texts("inputs"),
		Network:     a.text("network"),
		Resources:   a.resources("cpus", "memory"),
		Pos:         s.caller(thread),
	}
	if st.buildsIn != nil && a.values["image"] != nil {
		a.fail("image", "a step that builds in another starts from that step's files and cannot have an image: leave it out, or use sh(…, after = …)")
	}
	if a.err != nil {
		return nil, a.err
	}
	if len(s.steps) >= s.limits.defined {
		return nil, fmt.Errorf("sh: more than %d steps", s.limits.defined)
	}
	s.steps = append(s.steps, st)
	return st, nil
}

// caller is the place of the call in a file.
func (s *session) caller(thread *starlark.Thread) pipeline.Position {
	if frames := s.frames(thread.CallStack()); len(frames) > 0 {
		return frames[0].pos
	}
	return pipeline.Position{}
}

func wait(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	a := bind("wait", nil, kwargs, 0, "steps")
	if given := a.get("steps"); given != nil {
		args = append(args, given)
	}
	steps := a.flatten("steps", args)
	if a.err == nil && len(steps) == 0 {
		a.fail("steps", "give it at least one step to wait for")
	}
	if a.err != nil {
		return nil, a.err
	}
	return &barrier{steps}, nil
}

// definition is one call of pipeline.
type definition struct {
	spec   pipeline.Pipeline
	steps  []*step // the given ones
	module *module
}

func (s *session) pipeline(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	a := bind("pipeline", args[:min(1, len(args))], kwargs, 1, "name", "env", "timeout")
	d := &definition{module: s.loading[len(s.loading)-1]}
	d.spec = pipeline.Pipeline{
		Version: pipeline.Version,
		Name:    a.text("name"),
		Env:     a.env("env"),
		Timeout: a.duration("timeout"),
		Pos:     s.caller(thread),
	}
	if len(args) > 1 && a.err == nil {
		d.steps = a.flatten("steps", args[1:])
	}
	switch {
	case a.err != nil:
		return nil, a.err
	case d.spec.Name == "":
		return nil, fmt.Errorf("pipeline: the name is missing: write pipeline(\"ci\", step, …)")
	case len(d.steps) == 0:
		return nil, fmt.Errorf("pipeline: %q has no steps: write pipeline(%q, step, …)", d.spec.Name, d.spec.Name)
	}
	for _, other := range s.pipelines {
		if other.spec.Name == d.spec.Name {
			return nil, fmt.Errorf("pipeline: the name %q is taken by the pipeline at %s: give one of them another name", d.spec.Name, other.spec.Pos)
		}
	}
	s.pipelines = append(s.pipelines, d)
	return starlark.None, nil
}

func simplePolicy(kind pipeline.CacheKind) implementation {
	return func(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		if len(args) > 0 || len(kwargs) > 0 {
			return nil, fmt.Errorf("%s: takes no arguments", b.Name())
		}
		return &policy{pipeline.CachePolicy{Kind: kind}}, nil
	}
}

func ttl(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	a := bind("ttl", args, kwargs, 1, "duration")
	d := a.duration("duration")
	if a.err == nil && d == 0 {
		a.fail("duration", "the argument \"duration\" is missing: write ttl(\"24h\")")
	}
	if a.err != nil {
		return nil, a.err
	}
	return &policy{pipeline.CachePolicy{Kind: pipeline.CacheTTL, TTL: d}}, nil
}

func onChange(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	a := bind("on_change", nil, kwargs, 0, "paths")
	var globs starlark.Tuple
	if given := a.get("paths"); given != nil {
		args = append(args, given)
	}
	for _, v := range args {
		if list, ok := elements(v); ok {
			globs = append(globs, list...)
		} else {
			globs = append(globs, v)
		}
	}
	if a.err == nil {
		a.values["paths"] = globs
	}
	paths := a.texts("paths")
	if a.err == nil && len(paths) == 0 {
		a.fail("paths", "give it at least one path, as in on_change(\"go.mod\")")
	}
	if a.err != nil {
		return nil, a.err
	}
	return &policy{pipeline.CachePolicy{Kind: pipeline.CacheOnChange, Paths: paths}}, nil
}

func allOf(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	a := bind("all_of", nil, kwargs, 0, "policies")
	if given := a.get("policies"); given != nil {
		args = append(args, given)
	}
	var list []starlark.Value
	for _, v := range args {
		if inner, ok := elements(v); ok {
			list = append(list, inner...)
		} else {
			list = append(list, v)
		}
	}
	var p *pipeline.CachePolicy
	if a.err == nil {
		p = a.policies("policies", list)
	}
	if a.err != nil {
		return nil, a.err
	}
	return &policy{*p}, nil
}
