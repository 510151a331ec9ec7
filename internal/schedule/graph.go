package schedule

import (
	"fmt"
	"slices"
)

// CycleError says that steps depend on each other.
type CycleError struct {
	// Steps is the cycle: each depends on the next, and the last on the first.
	Steps []int
}

// Error names the steps.
func (e *CycleError) Error() string {
	return fmt.Sprintf("schedule: steps depend on each other in a cycle: %v", e.Steps)
}

// graph holds the dependents of all steps in one array, step after step.
type graph struct {
	ends []int32 // for each step: where its dependents end, and the next one's begin
	all  []int32
}

// of returns the steps that depend directly on step, in the order of definition.
func (g graph) of(step int) []int32 {
	begin := int32(0)
	if step > 0 {
		begin = g.ends[step-1]
	}
	return g.all[begin:g.ends[step]]
}

// newGraph turns dependencies around, and counts those of each step.
func newGraph(steps []Step) (g graph, missing []int32, err error) {
	missing = make([]int32, len(steps))
	g.ends = make([]int32, len(steps))
	total := int32(0)
	for i, step := range steps {
		missing[i] = int32(len(step.Deps))
		total += missing[i]
		for _, d := range step.Deps {
			if d < 0 || d >= len(steps) {
				return graph{}, nil, fmt.Errorf("schedule: step %d depends on step %d, and there are %d", i, d, len(steps))
			}
			g.ends[d]++
		}
	}
	begin := int32(0)
	for i, n := range g.ends {
		g.ends[i] = begin // grows to the end while the dependents are filled in
		begin += n
	}
	g.all = make([]int32, total)
	for i, step := range steps {
		for _, d := range step.Deps {
			g.all[g.ends[d]] = int32(i)
			g.ends[d]++
		}
	}
	return g, missing, nil
}

// sort returns the steps so that each comes after all that it depends on.
func (g graph) sort(steps []Step, missing []int32) ([]int32, error) {
	missing = slices.Clone(missing)
	order := make([]int32, 0, len(steps))
	for i, n := range missing {
		if n == 0 {
			order = append(order, int32(i))
		}
	}
	for i := 0; i < len(order); i++ {
		for _, d := range g.of(int(order[i])) {
			missing[d]--
			if missing[d] == 0 {
				order = append(order, d)
			}
		}
	}
	if len(order) < len(steps) {
		return nil, &CycleError{Steps: findCycle(steps, missing)}
	}
	return order, nil
}

// findCycle follows dependencies among steps that still miss some: each of
// them has such a dependency, so that the way must come back to where it was.
func findCycle(steps []Step, missing []int32) []int {
	isStuck := func(step int) bool { return missing[step] > 0 }
	at := slices.IndexFunc(missing, func(n int32) bool { return n > 0 })
	seen := make(map[int]int) // step to its place in way
	var way []int
	for {
		if begin, ok := seen[at]; ok {
			return way[begin:]
		}
		seen[at] = len(way)
		way = append(way, at)
		deps := steps[at].Deps
		at = deps[slices.IndexFunc(deps, isStuck)]
	}
}
