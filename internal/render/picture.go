package render

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/strata-ci/strata/internal/journal"
)

const (
	// indent is the width of one level of the tree.
	indent = 2
	// resultWidth holds the longest usual result: "cancelled" or "26 h 03 m".
	resultWidth = 9
	// liveLines is how many lines of its output a running step shows.
	liveLines = 3
	// maxPicture is how many steps the final picture shows one by one.
	maxPicture = 60
	// victimRows is how many rows the names of steps that did not run get.
	victimRows = 2
	// waitingMark is the mark of a step that waits.
	waitingMark = "·"
)

// spinner turns once a second.
var spinner = []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")

func spin(now time.Time) string {
	return string(spinner[now.UnixMilli()/100%int64(len(spinner))])
}

// live returns the live region in at most height rows: the whole tree where it
// fits, else what runs and what has failed, and sums of the rest.
func (v *view) live(width, height int, now time.Time) []row {
	if v.run.started.IsZero() || height < 1 {
		return nil
	}
	nodes := v.nodes()
	footer := v.footer(now)
	switch {
	case len(nodes)+2 <= height: // and an empty row before the footer
		return append(v.steps(nodes, width, height-2, now), nil, footer)
	case height < 6: // no room for more than the sum of it all
		return []row{footer}
	}
	return append(v.excerpt(nodes, width, height-1, now), footer)
}

// excerpt shows the steps that matter now, and counts the others.
func (v *view) excerpt(nodes []node, width, height int, now time.Time) []row {
	room := height - 2 // rows for the counts of what is done and of what waits
	failed := pick(nodes, (*step).failed)
	running := pick(nodes, (*step).running)
	slices.SortStableFunc(running, func(a, b node) int { return a.started.Compare(b.started) })
	hidden := max(0, len(failed)-room/3)
	failed = failed[hidden:]
	more := max(0, len(running)-(room-len(failed)))
	running = running[:len(running)-more]

	rows := make([]row, 0, height)
	if done := v.tallyOf(journal.Passed, journal.Cached, journal.Skipped, journal.Cancelled); done != "" || hidden > 0 {
		if hidden > 0 {
			done = strings.TrimPrefix(fmt.Sprintf("%s, %d more failed", done, hidden), ", ")
		}
		rows = append(rows, row{{dim, "… " + done}})
	}
	rows = append(rows, v.steps(append(failed, running...), width, room, now)...)
	waiting := v.run.count(func(s *step) bool { return s.end == nil && !s.running() })
	switch {
	case more > 0:
		rows = append(rows, row{{dim, fmt.Sprintf("… %d more running, %d waiting", more, waiting)}})
	case waiting > 0:
		rows = append(rows, row{{dim, fmt.Sprintf("… %d waiting", waiting)}})
	}
	return rows
}

// pick returns the nodes for which is holds, without their place in the tree.
func pick(nodes []node, is func(*step) bool) []node {
	var picked []node
	for _, n := range nodes {
		if is(n.step) {
			picked = append(picked, node{n.step, 0})
		}
	}
	return picked
}

// tallyOf counts the steps of each status: "48 passed, 3 cached".
func (v *view) tallyOf(statuses ...journal.Status) string {
	var parts []string
	for _, status := range statuses {
		if n := v.run.countStatus(status); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, Word(status)))
		}
	}
	return strings.Join(parts, ", ")
}

// steps shows each node and, as far as height allows, the last lines of those
// that run.
func (v *view) steps(nodes []node, width, height int, now time.Time) []row {
	lines := 0
	if running := len(pick(nodes, (*step).running)); running > 0 {
		lines = max(0, min(liveLines, (height-len(nodes))/running))
	}
	titles := titleWidth(nodes, width)
	rows := make([]row, 0, height)
	for _, n := range nodes {
		rows = append(rows, v.stepRow(n, titles, width, now))
		out := v.outputs[n.Name]
		if !n.running() || out == nil {
			continue
		}
		for _, line := range out.last(lines) {
			rows = append(rows, row{{dim, n.margin(width) + "  │ " + line}})
		}
	}
	return rows
}

// margin is the space before a step's mark. Deep trees stop going to the right
// where they would leave no room for titles.
func (n node) margin(width int) string {
	return strings.Repeat(" ", min(n.depth*indent, width/4))
}

// titleWidth is the column at which results stand: after the longest title, but
// so that there is room for them.
func titleWidth(nodes []node, width int) int {
	longest := 0
	for _, n := range nodes {
		longest = max(longest, len(n.margin(width))+2+widths.StringWidth(cleanString(n.Title())))
	}
	return max(min(longest, width-1-1-resultWidth), 4)
}

// stepRow is one step: mark, title, result, and a note.
func (v *view) stepRow(n node, titles, width int, now time.Time) row {
	mark, result, note := v.stepState(n.step, now)
	margin := n.margin(width)
	title := fit(cleanString(n.Title()), max(titles-len(margin)-2, 1))
	style := normal
	if n.started.IsZero() && n.status() != journal.Cached { // it waits or never started
		style = dim
	}
	r := row{{s: margin}, mark, {s: " "}, {style, title}}
	if result != "" || note.s != "" {
		r = append(r, text{dim, " " + strings.Repeat(" ", max(resultWidth-widths.StringWidth(result), 0)) + result})
	}
	if note.s != "" {
		r = append(r, text{s: "  "}, note)
	}
	return r
}

// fit cuts or fills s to width columns.
func fit(s string, width int) string {
	s = widths.Truncate(s, width, "…")
	return s + strings.Repeat(" ", max(width-widths.StringWidth(s), 0))
}

// stepState returns the step's mark, its time or result, and what else there is
// to say.
func (v *view) stepState(s *step, now time.Time) (mark text, result string, note text) {
	switch {
	case s.running() && v.run.finished == nil:
		return text{cyan, spin(now)}, wholeSeconds(now.Sub(s.started)), text{dim, s.prospect()}
	case s.end == nil:
		return text{dim, waitingMark}, "", text{}
	}
	status := s.end.Status
	mark = text{statusColor(status), Mark(status)}
	note = text{statusColor(status), Word(status)}
	switch {
	case status == journal.Cached, s.started.IsZero() && status != journal.InfraFailed:
		return mark, Word(status), text{}
	case s.started.IsZero():
		return mark, "", note
	case status == journal.Passed:
		note = text{dim, strings.TrimPrefix(s.tries(), " ")}
	case status == journal.Failed:
		note.s = failure(s.end) + s.tries()
	}
	return mark, Milliseconds(s.end.DurationMS), note
}

// prospect is what there is to say of a running step: which attempt it is, how
// long it took lately, and why no earlier result is used.
func (s *step) prospect() string {
	var notes []string
	if s.attempt > 1 {
		notes = append(notes, fmt.Sprintf("attempt %d", s.attempt))
	}
	if s.expected >= 1000 {
		notes = append(notes, "of about "+wholeSeconds(time.Duration(s.expected*float64(time.Millisecond))))
	}
	if s.reason != "" {
		notes = append(notes, s.reason)
	}
	return strings.Join(notes, "; ")
}

// footer sums the run up while it goes on.
func (v *view) footer(now time.Time) row {
	elapsed := wholeSeconds(now.Sub(v.run.started))
	if e := v.run.cancelling; e != nil {
		r := row{{yellow, spin(now) + " cancelling… (Ctrl-C again to kill)"}}
		if e.Message != "" {
			r = append(r, text{dim, "  " + cleanString(e.Message)})
		}
		return r
	}
	total := len(v.run.steps)
	running := v.run.count((*step).running)
	done := v.run.count(func(s *step) bool { return s.end != nil })
	state := fmt.Sprintf("%d of %d done", done, total)
	if running > 0 {
		state += fmt.Sprintf(", %d running", running)
	}
	if done+running == 0 && !v.run.captured {
		state = "capturing the workspace"
	}
	return row{{cyan, spin(now) + " "}, {bold, v.run.pipeline}, {s: "  " + state}, {dim, "  " + elapsed}}
}

// picture is what stays on the screen when the run is over.
func (v *view) picture(width int) []row {
	if v.run.started.IsZero() {
		return nil
	}
	rows := v.finalSteps(width)
	rows = append(rows, nil)
	for _, g := range v.run.victims() {
		p := paragraph{rest: text{s: "  "}, body: text{dim, v.run.line(g)}}
		rows = append(rows, p.rows(width-1, victimRows)...)
	}
	var status journal.Status
	if v.run.finished != nil {
		status = v.run.finished.Status
	}
	color := statusColor(status)
	verdict := row{{color, Mark(status) + " "}, {bold, v.run.headline()}, {s: "  " + v.run.figures()}}
	if _, w := verdict.paint(false, width); w < width {
		return append(rows, verdict)
	}
	figures := paragraph{text{s: "  "}, text{s: "  "}, text{s: v.run.figures()}}
	return append(append(rows, verdict[:2]), figures.rows(width-1, newsRows)...)
}

// finalSteps shows all steps, or, where they are many, those that neither passed
// nor were skipped.
func (v *view) finalSteps(width int) []row {
	nodes := v.nodes()
	if len(nodes) <= maxPicture {
		return v.steps(nodes, width, 0, time.Time{})
	}
	rest := pick(nodes, func(s *step) bool {
		switch s.status() {
		case journal.Passed, journal.Cached, journal.Skipped, "":
			return false
		}
		return true
	})
	rows := v.steps(rest, width, 0, time.Time{})
	if done := v.tallyOf(journal.Passed, journal.Cached, journal.Skipped); done != "" {
		rows = append(rows, row{{dim, "… " + done}})
	}
	return rows
}
