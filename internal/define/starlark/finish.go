package starlark

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/strata-ci/strata/pipeline"
)

// finish turns what the files defined into pipelines.
func (s *session) finish() ([]*pipeline.Pipeline, error) {
	var out []*pipeline.Pipeline
	for _, d := range s.pipelines {
		out = append(out, d.build())
	}
	var forgotten []error
	for _, st := range s.steps {
		if !st.used && !st.module.library {
			forgotten = append(forgotten, s.at(st.spec.Pos, fmt.Sprintf(
				"the step %q is in no pipeline: give it to pipeline(…), or remove it", st.title())))
		}
	}
	const enough = 20
	if more := len(forgotten) - enough; more > 0 {
		forgotten = append(forgotten[:enough], fmt.Errorf("… and %d more such steps", more))
	}
	if err := errors.Join(forgotten...); err != nil {
		return nil, err
	}
	return out, nil
}

// build returns the pipeline of all steps that the given ones need, in the
// order of their definition.
func (d *definition) build() *pipeline.Pipeline {
	steps := reachable(d.steps)
	names := nameSteps(steps)
	p := d.spec
	p.Steps = make([]pipeline.Step, len(steps))
	for i, st := range steps {
		st.used = true
		spec := st.spec
		spec.Name = names[st]
		if st.buildsIn != nil {
			spec.BuildsIn = names[st.buildsIn]
		}
		for _, before := range st.after {
			spec.DependsOn = append(spec.DependsOn, names[before])
		}
		p.Steps[i] = spec
	}
	return &p
}

func reachable(from []*step) []*step {
	seen := make(map[*step]bool)
	var steps []*step
	for todo := slices.Clone(from); len(todo) > 0; {
		st := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if st == nil || seen[st] {
			continue
		}
		seen[st] = true
		steps = append(steps, st)
		todo = append(append(todo, st.buildsIn), st.after...)
	}
	slices.SortFunc(steps, func(a, b *step) int { return cmp.Compare(a.id, b.id) })
	return steps
}

// nameSteps names steps without a name after their commands. Names that
// authors gave come first, so that a new step never takes one of them.
func nameSteps(steps []*step) map[*step]string {
	names := make(map[*step]string, len(steps))
	taken := make(map[string]bool, len(steps))
	for _, st := range steps {
		if st.spec.Name != "" {
			names[st] = st.spec.Name
			taken[st.spec.Name] = true
		}
	}
	for _, st := range steps {
		if st.spec.Name == "" {
			names[st] = pipeline.NameFor(st.spec.Command, func(name string) bool { return taken[name] })
			taken[names[st]] = true
		}
	}
	return names
}
