// Package graph draws a pipeline: as text, for Graphviz (DOT), for Mermaid and
// as SVG.
//
// In: a pipeline. Out: a drawing, the same for the same pipeline, byte for byte.
// It never runs anything, and no name or label can break a drawing's syntax.
package graph

import (
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/strata-ci/strata/pipeline"
)

// edge goes from a step to one that comes after it, by their places in the pipeline.
type edge struct {
	from, to int
	order    bool // depends_on: order only, drawn dashed
}

// edges returns the edges of p, in order of definition. A step that both builds
// in another and depends on it has one edge to it. References to steps that do
// not exist are left out.
func edges(p *pipeline.Pipeline) []edge {
	index := make(map[string]int, len(p.Steps))
	for i, s := range p.Steps {
		index[s.Name] = i
	}
	var all []edge
	for to, s := range p.Steps {
		drawn := make(map[int]bool)
		if from, ok := index[s.BuildsIn]; ok && s.BuildsIn != "" {
			all = append(all, edge{from: from, to: to})
			drawn[from] = true
		}
		for _, name := range s.DependsOn {
			if from, ok := index[name]; ok && !drawn[from] {
				all = append(all, edge{from: from, to: to, order: true})
				drawn[from] = true
			}
		}
	}
	return all
}

// title is a step's label, or its name where it has none, as one line.
func title(s *pipeline.Step) string {
	if s.Label != "" {
		return oneLine(s.Label)
	}
	return oneLine(s.Name)
}

// oneLine replaces what is not printable by spaces, and bytes that are not UTF-8
// by U+FFFD.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}

// Text writes p as a tree: a step stands below the one that it builds in, and
// says after which others it comes.
func Text(w io.Writer, p *pipeline.Pipeline) error {
	t := newTree(p)
	t.out.WriteString(oneLine(p.Name) + "\n")
	t.branches("", t.children[root])
	for i := range p.Steps { // steps of a circle hang nowhere: no valid pipeline has one
		if !t.drawn[i] {
			t.branches("", []int{i})
		}
	}
	return write(w, t.out.String())
}

// maxMargin is how many bytes of margin a long chain of steps gets: enough to
// fill any window.
const maxMargin = 200

// root stands for the parent of steps that build in no other.
const root = -1

type textTree struct {
	out      strings.Builder
	steps    []pipeline.Step
	children map[int][]int
	drawn    []bool
}

func newTree(p *pipeline.Pipeline) *textTree {
	t := &textTree{steps: p.Steps, children: make(map[int][]int), drawn: make([]bool, len(p.Steps))}
	parents := make(map[int]int)
	for _, e := range edges(p) {
		if !e.order {
			parents[e.to] = e.from
		}
	}
	for i := range p.Steps {
		parent, ok := parents[i]
		if !ok {
			parent = root
		}
		t.children[parent] = append(t.children[parent], i)
	}
	return t
}

func (t *textTree) branches(margin string, steps []int) {
	for n, i := range steps {
		if t.drawn[i] {
			continue
		}
		t.drawn[i] = true
		branch, next := "├─ ", "│  "
		if n == len(steps)-1 {
			branch, next = "└─ ", "   "
		}
		t.out.WriteString(margin + branch + line(&t.steps[i]) + "\n")
		if len(margin) >= maxMargin {
			next = ""
		}
		t.branches(margin+next, t.children[i])
	}
}

// line is a step with its name, by which others refer to it, and the steps after
// which it comes.
func line(s *pipeline.Step) string {
	text := title(s)
	if s.Label != "" && s.Label != s.Name {
		text += " (" + oneLine(s.Name) + ")"
	}
	if len(s.DependsOn) > 0 {
		text += "  after: " + oneLine(strings.Join(s.DependsOn, ", "))
	}
	return text
}

func write(w io.Writer, drawing string) error {
	if _, err := io.WriteString(w, drawing); err != nil {
		return fmt.Errorf("write the graph: %w", err)
	}
	return nil
}
