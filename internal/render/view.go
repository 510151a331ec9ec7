package render

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/strata-ci/strata/internal/journal"
)

// view is what the terminal shows of a run. One goroutine applies items, another
// asks for frames.
type view struct {
	mu      sync.Mutex
	run     run
	outputs map[string]*liveOutput // of the steps that run
	news    []paragraph            // what is to scroll up with the next frame
	order   []node                 // the steps as a tree
}

// liveOutput is the end of a running step's output.
type liveOutput struct {
	lines lines
	tail  tail
}

// newsRows is how many rows of the window a line of output or a message gets.
const newsRows = 8

// maxTailLine is how many bytes of a line are kept to be shown.
const maxTailLine = 1 << 10

func newView() *view { return &view{outputs: make(map[string]*liveOutput)} }

func (v *view) output(o *journal.Output) {
	out := v.outputs[o.Step]
	if out == nil {
		out = &liveOutput{}
		v.outputs[o.Step] = out
	}
	out.lines.write(o.Data, out.add)
}

func (o *liveOutput) add(line []byte, continues bool) {
	if !continues { // the beginning of a line is all that is shown
		o.tail.add(beginning(line))
	}
}

func beginning(line []byte) []byte {
	if len(line) <= maxTailLine {
		return line
	}
	return line[:characterBorder(line[:maxTailLine], line[maxTailLine:])]
}

// last returns the last n lines that are not blank, the unfinished one too, made
// harmless.
func (o *liveOutput) last(n int) []string {
	raw := o.tail.last(tailLines)
	if held := o.lines.held; len(held) > 0 && !o.lines.continued {
		raw = append(raw, beginning(held))
	}
	var out []string
	for i := len(raw) - 1; i >= 0 && len(out) < n; i-- {
		if s := strings.TrimRight(string(appendClean(nil, raw[i])), " "); s != "" {
			out = append(out, s)
		}
	}
	slices.Reverse(out)
	return out
}

func (v *view) event(e *journal.Event) {
	v.run.apply(e)
	switch e.Type {
	case journal.Notice:
		v.notice(e)
	case journal.StepRetried:
		delete(v.outputs, e.Step) // that of the last attempt is shown
	case journal.StepFinished:
		s := v.run.step(e.Step)
		if s.failed() {
			v.failure(s)
		}
		delete(v.outputs, e.Step)
	case journal.RunFinished:
		v.stopped(e)
	}
}

// stopped tells why a run has ended that no step decided.
func (v *view) stopped(e *journal.Event) {
	switch {
	case e.Error == nil:
		return
	case e.Status == journal.Invalid: // nothing is wrong with the machine
		for _, line := range faultLines(e.Error) {
			v.say(text{red, Mark(e.Status) + " "}, text{s: line})
		}
	default:
		v.say(text{red, Mark(e.Status) + " "}, text{bold, Word(journal.InfraFailed)})
		v.infra(e.Error)
	}
	v.news = append(v.news, paragraph{})
}

func (v *view) notice(e *journal.Event) {
	message := cleanString(e.Message)
	if e.Step != "" {
		message = cleanString(e.Step) + ": " + message
	}
	v.news = append(v.news, paragraph{text{yellow, "! "}, text{s: "  "}, text{s: message}})
}

// failure tells of a step that failed: how, and the end of its output.
func (v *view) failure(s *step) {
	how := v.run.ending(s)
	if s.end.Status == journal.Failed {
		how = "failed: " + how
	}
	if !s.started.IsZero() {
		how += " after " + Milliseconds(s.end.DurationMS)
	}
	v.say(text{red, Mark(s.end.Status) + " "}, text{bold, cleanString(s.Title()) + " " + how})
	if s.end.Status == journal.InfraFailed {
		v.infra(s.end.Error)
	}
	if out := v.outputs[s.Name]; out != nil {
		v.failureOutput(s, out)
	}
	v.news = append(v.news, paragraph{})
}

func (v *view) infra(e *journal.Error) {
	for _, l := range errorLines(e) {
		v.say(text{dim, fmt.Sprintf("  %-5s  ", l[0])}, text{s: l[1]})
	}
}

func (v *view) failureOutput(s *step, out *liveOutput) {
	out.lines.flush(out.add)
	last := out.tail.last(tailLines)
	gutter := text{dim, "  │ "}
	for _, line := range last {
		v.news = append(v.news, paragraph{gutter, gutter, text{s: string(appendClean(nil, line))}})
	}
	hint := "strata logs " + cleanString(s.Name)
	if out.tail.total > len(last) {
		hint = fmt.Sprintf("the last %d of %d lines; all: %s", len(last), out.tail.total, hint)
	} else {
		hint = "the whole log: " + hint
	}
	v.say(text{s: "  "}, text{dim, hint})
}

// say adds a paragraph whose further rows stand below the first one's body.
func (v *view) say(lead, body text) {
	rest := text{s: strings.Repeat(" ", widths.StringWidth(lead.s))}
	v.news = append(v.news, paragraph{lead, rest, body})
}

// frame returns what is to scroll up and the live region, for a window of that
// size. The region leaves one row of the window free for the cursor.
func (v *view) frame(width, height int, now time.Time) (finished, live []row) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.takeNews(width), v.live(width, height-1, now)
}

// final returns the rows that stay when the run is over.
func (v *view) final(width int) []row {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append(v.takeNews(width), v.picture(width)...)
}

func (v *view) takeNews(width int) []row {
	var rows []row
	for _, p := range v.news {
		rows = append(rows, p.rows(width-1, newsRows)...)
	}
	v.news = nil
	return rows
}

func (v *view) nodes() []node {
	if len(v.order) != len(v.run.steps) {
		v.order = tree(v.run.steps)
	}
	return v.order
}
