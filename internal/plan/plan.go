// Package plan decides, before anything runs, what a run will do.
//
// In: a pipeline and the runners that exist. Out: the steps with their runners,
// environments, parents and cache decisions, in the order of their definition.
// It is read-only: a plan can be shown and thrown away.
package plan

import (
	"fmt"
	"maps"
	"slices"

	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// Step is a step with everything decided about it.
type Step struct {
	pipeline.Step
	Runner runner.StepRunner
	// Environ is the whole environment, sorted KEY=VALUE strings.
	Environ []string
	// Parent is the index of the step that it builds in; -1 for none.
	Parent int
	// Deps are the indexes of all steps that must pass first, Parent included.
	Deps []int
	// Cache says what is to be kept of the step; its Ref is still empty, for it
	// is unique to each run.
	Cache runner.CacheDecision

	// What Decide fills in. Key is zero and Material nil for a step without a
	// key: no result of it or of a step that builds in it can be used again.
	Key      Key
	Material *Material
	Decision Decision
	// Listed returns the inputs whose digest is in Material; nil where there is
	// no such list, also for a step with AllInputs. It selects them anew each time.
	Listed func() []Input

	above lineage // of the steps that it builds in
	below lineage // of the steps that build in it
}

// Plan is what a run will do.
type Plan struct {
	Pipeline *pipeline.Pipeline
	Steps    []Step
}

// Options change a pipeline for one run.
type Options struct {
	// Only are names of steps to run, with all that they need; empty for all.
	Only []string
	// From names a step to run with everything after it, and all that those
	// need; empty for all.
	From string
	// Runner replaces the default runner; empty for the registry's.
	Runner string
	// Env is added to the environment of every step, and wins.
	Env map[string]string
}

// baseEnv is what every step finds, as on hosted CI.
var baseEnv = map[string]string{"CI": "true", "STRATA": "true"}

// Make plans a run. Its error is pipeline.Faults for what is wrong with the
// pipeline, else it is about the options.
func Make(p *pipeline.Pipeline, registry *runner.Registry, opts Options) (*Plan, error) {
	if opts.Runner != "" {
		if _, err := registry.Get(opts.Runner); err != nil {
			return nil, err
		}
	} else {
		opts.Runner = registry.Default()
	}
	for _, name := range slices.Sorted(maps.Keys(opts.Env)) {
		if err := pipeline.CheckEnv(name, opts.Env[name]); err != nil {
			return nil, err
		}
	}
	if err := pipeline.Validate(p, Runners(registry, opts.Runner)); err != nil {
		return nil, err
	}
	index := make(map[string]int, len(p.Steps))
	for i, s := range p.Steps {
		index[s.Name] = i
	}
	wanted, err := selected(p, index, opts)
	if err != nil {
		return nil, err
	}
	plan := &Plan{Pipeline: p}
	place := map[int]int{} // of a step of the pipeline in the plan
	for i := range p.Steps {
		if wanted[i] {
			place[i] = len(place)
		}
	}
	for i := range p.Steps {
		if !wanted[i] {
			continue
		}
		step, err := resolve(p, &p.Steps[i], registry, opts)
		if err != nil {
			return nil, err
		}
		for _, name := range needs(&p.Steps[i]) {
			step.Deps = append(step.Deps, place[index[name]])
		}
		if step.BuildsIn != "" {
			step.Parent = place[index[step.BuildsIn]]
		}
		plan.Steps = append(plan.Steps, step)
	}
	return plan, nil
}

func resolve(p *pipeline.Pipeline, s *pipeline.Step, registry *runner.Registry, opts Options) (Step, error) {
	name := s.Runner
	if name == "" {
		name = opts.Runner
	}
	r, err := registry.Get(name)
	if err != nil {
		return Step{}, fmt.Errorf("step %q: %w", s.Name, err)
	}
	return Step{
		Step: *s, Runner: r, Environ: environ(p.Env, s.Env, opts.Env),
		Parent: -1, Cache: runner.CacheDecision{Action: runner.MissNoCommit},
	}, nil
}

// environ returns the sorted environment; later variables win.
func environ(layers ...map[string]string) []string {
	env := maps.Clone(baseEnv)
	for _, layer := range layers {
		maps.Copy(env, layer)
	}
	list := make([]string, 0, len(env))
	for key, value := range env {
		list = append(list, key+"="+value)
	}
	slices.Sort(list)
	return list
}

// needs returns the names of the steps that must pass before s, each once.
func needs(s *pipeline.Step) []string {
	var names []string
	if s.BuildsIn != "" {
		names = append(names, s.BuildsIn)
	}
	for _, name := range s.DependsOn {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// Runners describes a registry to pipeline.Validate.
func Runners(registry *runner.Registry, defaultName string) pipeline.RunnerSet {
	set := pipeline.RunnerSet{Names: registry.Names(), Default: defaultName, Formats: map[string]string{}}
	for _, name := range set.Names {
		r, err := registry.Get(name)
		if err != nil {
			continue // cannot be: the name came from the registry
		}
		if sharer, ok := r.(runner.SnapshotSharer); ok {
			set.Formats[name] = sharer.SnapshotFormat()
		}
	}
	set.CheckStep = func(name string, step pipeline.Step) error {
		r, err := registry.Get(name)
		if err != nil {
			return err
		}
		if v, ok := r.(runner.StepValidator); ok {
			return v.ValidateStep(step)
		}
		switch {
		case len(step.RunnerArgs) > 0:
			return fmt.Errorf("it takes no runner_args")
		case step.Resources != nil:
			return fmt.Errorf("it cannot limit resources")
		}
		return nil
	}
	return set
}
