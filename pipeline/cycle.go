package pipeline

import (
	"fmt"
	"strings"
)

// cycles reports a cycle for each edge that closes one in a depth-first
// search: without these edges no cycle is left. A step that needs itself is
// a fault of its own and left out. The search keeps its own stack, so that a
// chain may be as long as memory allows.
func (v *validator) cycles() {
	s := search{v: v, state: make([]int, len(v.p.Steps))}
	for i := range v.p.Steps {
		if s.state[i] == unseen {
			s.from(i)
		}
	}
}

// States of a step in the search; above zero it is on the stack.
const (
	unseen = 0
	done   = -1
)

type search struct {
	v     *validator
	state []int // unseen, done, or the step's place on the stack from 1
	stack []visit
}

// visit is a step on the stack and which of its needs is next.
type visit struct {
	step, next int
	closed     map[int]bool // cycles that the edges to these steps close are reported
}

func (s *search) from(root int) {
	s.push(root)
	for len(s.stack) > 0 {
		top := &s.stack[len(s.stack)-1]
		need, more := s.need(top.step, top.next)
		top.next++
		switch {
		case !more:
			s.state[top.step] = done
			s.stack = s.stack[:len(s.stack)-1]
		case need < 0 || need == top.step || s.state[need] == done:
		case s.state[need] == unseen:
			s.push(need)
		case !top.closed[need]:
			if top.closed == nil {
				top.closed = make(map[int]bool)
			}
			top.closed[need] = true
			s.report(s.stack[s.state[need]-1:])
		}
	}
}

func (s *search) push(step int) {
	s.stack = append(s.stack, visit{step: step})
	s.state[step] = len(s.stack)
}

// need returns the k-th step that a step waits for, -1 if that does not exist.
func (s *search) need(step, k int) (need int, more bool) {
	st := &s.v.p.Steps[step]
	name := st.BuildsIn
	if k > 0 {
		if k > len(st.DependsOn) {
			return -1, false
		}
		name = st.DependsOn[k-1]
	}
	if i, ok := s.v.index[name]; ok && name != "" {
		return i, true
	}
	return -1, true
}

func (s *search) report(cycle []visit) {
	const ends = 5 // names at each end of a long cycle
	var names []string
	for i, c := range cycle {
		if len(cycle) > 2*ends && i == ends {
			names = append(names, fmt.Sprintf("… (%d more)", len(cycle)-2*ends))
		}
		if i < ends || i >= len(cycle)-ends {
			names = append(names, s.v.p.Steps[c.step].Name)
		}
	}
	first := cycle[0].step
	names = append(names, s.v.p.Steps[first].Name)
	s.v.fault(first, "", "the steps wait for each other in a cycle: %s; remove one of these builds_in or depends_on", strings.Join(names, " → "))
}
