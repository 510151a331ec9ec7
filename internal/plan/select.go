package plan

import (
	"fmt"

	"github.com/strata-ci/strata/internal/suggest"
	"github.com/strata-ci/strata/pipeline"
)

// selected says which steps of the pipeline the options ask for.
func selected(p *pipeline.Pipeline, index map[string]int, opts Options) ([]bool, error) {
	wanted := make([]bool, len(p.Steps))
	if len(opts.Only) == 0 && opts.From == "" {
		for i := range wanted {
			wanted[i] = true
		}
		return wanted, nil
	}
	var start []int
	for _, name := range opts.Only {
		i, err := find(p, index, name)
		if err != nil {
			return nil, err
		}
		start = append(start, i)
	}
	if opts.From != "" {
		i, err := find(p, index, opts.From)
		if err != nil {
			return nil, err
		}
		start = append(start, after(p, index, i)...)
	}
	// What is wanted, and all that it needs.
	for len(start) > 0 {
		i := start[len(start)-1]
		start = start[:len(start)-1]
		if wanted[i] {
			continue
		}
		wanted[i] = true
		for _, name := range needs(&p.Steps[i]) {
			start = append(start, index[name])
		}
	}
	return wanted, nil
}

// after returns a step and all that need it, through any distance.
func after(p *pipeline.Pipeline, index map[string]int, first int) []int {
	children := make([][]int, len(p.Steps))
	for i := range p.Steps {
		for _, name := range needs(&p.Steps[i]) {
			children[index[name]] = append(children[index[name]], i)
		}
	}
	seen := map[int]bool{first: true}
	found := []int{first}
	for next := 0; next < len(found); next++ {
		for _, c := range children[found[next]] {
			if !seen[c] {
				seen[c] = true
				found = append(found, c)
			}
		}
	}
	return found
}

func find(p *pipeline.Pipeline, index map[string]int, name string) (int, error) {
	if i, ok := index[name]; ok {
		return i, nil
	}
	names, labels := make([]string, len(p.Steps)), make([]string, len(p.Steps))
	for i, s := range p.Steps {
		names[i], labels[i] = s.Name, s.Label
	}
	return 0, fmt.Errorf("pipeline %q has no step %q%s; `strata graph %s` shows its steps", p.Name, name, suggest.HintName(name, names, labels), p.Name)
}
