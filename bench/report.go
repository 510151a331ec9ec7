//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"
)

// row is a line of the page: a figure of Strata's beside a peer's.
type row struct {
	what   string
	ours   samples
	peer   string
	theirs samples
	unit   string // empty for milliseconds
	goal   goal
}

// goal is what a row is to show. The zero value is met by anything.
type goal struct {
	text string
	met  func(ours, theirs float64) bool
}

func ratioAtMost(limit float64) goal {
	return goal{fmt.Sprintf("at most %v ×", limit), func(ours, theirs float64) bool { return ours <= limit*theirs }}
}

func within(limit float64, unit string) goal {
	return goal{fmt.Sprintf("at most %v %s more", limit, unit), func(ours, theirs float64) bool { return ours-theirs <= limit }}
}

func atMostMilliseconds(limit float64) goal {
	return goal{fmt.Sprintf("at most %v ms", limit), func(ours, _ float64) bool { return ours <= limit }}
}

// verdict compares bests, and in the middle of the rounds each with its peer.
func (g goal) verdict(ours, theirs samples) string {
	if g.met == nil {
		return ""
	}
	met := 0
	for i := range ours.rounds {
		if g.met(ours.rounds[i], theirs.rounds[i]) {
			met++
		}
	}
	best, mostly := g.met(ours.best, theirs.best), 2*met > len(ours.rounds)
	switch {
	case best && mostly:
		return "yes"
	case best:
		return "best only"
	case mostly:
		return "median only"
	}
	return "no"
}

type report struct {
	command string
	date    time.Time
	rounds  int
	machine string
	source  string
	tables  []table
	notes   []string
}

type table struct {
	title string
	rows  []row
}

// table begins a table, to which rows are added from now on.
func (r *report) table(title string) { r.tables = append(r.tables, table{title: title}) }

func (r *report) add(w row) {
	t := &r.tables[len(r.tables)-1]
	t.rows = append(t.rows, w)
	fmt.Fprintln(os.Stderr, w.markdown())
}

// note keeps a sentence for the page, such as why something was not measured.
func (r *report) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.notes = append(r.notes, text)
	fmt.Fprintln(os.Stderr, text)
}

func (w row) markdown() string {
	ratio := w.ours.over(w.theirs)
	unit := w.unit
	if unit == "" {
		unit = "ms"
	}
	cells := []string{
		w.what, pair(w.ours, " "+unit), w.peer, pair(w.theirs, " "+unit), pair(ratio, ""), w.goal.text, w.goal.verdict(w.ours, w.theirs),
	}
	return "| " + strings.Join(cells, " | ") + " |"
}

func pair(s samples, unit string) string {
	return figure(s.best) + " / " + figure(s.median()) + unit
}

// figure writes a number with three digits that count.
func figure(v float64) string {
	switch {
	case v >= 100 || v <= -100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10 || v <= -10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func (r *report) markdown() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `# Benchmarks

This page is written by a program. To measure on another machine:

    go run ./bench -o docs/benchmarks.md

It builds Strata, installs what it compares with as far as that is a Go
program, and needs Linux, Go, git and util-linux. As root it measures an
ordinary user too. Other work on the machine makes times longer; what is
compared is therefore measured in turn, and the ratio is what counts.

- Command: %s
- Date: %s
- Strata: %s
%s
Every pair of figures is the best and the median of %d rounds, of a third of
that where a round takes seconds. The median of a ratio is that of the rounds'
own ratios. A goal is met ("yes") if both best and median meet it.
`, "`"+r.command+"`", r.date.Format("2006-01-02 15:04 MST"), r.source, r.machine, r.rounds)
	for _, t := range r.tables {
		if len(t.rows) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n| Strata | best / median | against | best / median | ratio | goal | met |\n|---|---|---|---|---|---|---|\n", t.title)
		for _, w := range t.rows {
			fmt.Fprintln(&b, w.markdown())
		}
	}
	if len(r.notes) > 0 {
		fmt.Fprint(&b, "\n## Notes\n\n")
	}
	for _, n := range r.notes {
		fmt.Fprintln(&b, "- "+n)
	}
	return b.Bytes()
}
