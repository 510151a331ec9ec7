package render

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/strata-ci/strata/internal/journal"
)

// Plain writes a run as lines, for pipes and CI: "STEP | LINE" for output, the
// time and the result where a step starts and ends, then the failed steps
// again, the skipped ones with the cause, and a verdict.
//
// The bytes of the output are left as they are, invalid UTF-8 and colours too,
// unless w is a terminal: then whatever could act on it is left out. A line that
// is longer than 8 KiB is given in parts, the next ones as "STEP + REST". Of a
// line that carriage returns overwrite, such as a progress bar, only the last
// state is shown. Plain returns the first error of items or w.
func Plain(w io.Writer, items Items) error {
	f, ok := w.(interface{ Fd() uintptr })
	return plain(w, ok && term.IsTerminal(int(f.Fd())), items)
}

func plain(w io.Writer, clean bool, items Items) error {
	p := plainWriter{clean: clean, outputs: make(map[string]*plainOutput)}
	for item, err := range items {
		if err != nil {
			return err
		}
		p.item(item)
		if err := p.flush(w); err != nil {
			return err
		}
	}
	p.summary()
	return p.flush(w)
}

type plainWriter struct {
	run     run
	clean   bool
	buf     bytes.Buffer // what the current item adds
	outputs map[string]*plainOutput
}

// plainOutput is the output of a step that runs or has failed.
type plainOutput struct {
	lines lines
	tail  tail
}

func (p *plainWriter) flush(w io.Writer) error {
	if p.buf.Len() == 0 {
		return nil
	}
	if _, err := w.Write(p.buf.Bytes()); err != nil {
		return fmt.Errorf("write the progress of the run: %w", err)
	}
	p.buf.Reset()
	return nil
}

func (p *plainWriter) item(item journal.Item) {
	switch {
	case item.Event != nil:
		p.event(item.Event)
	case item.Output != nil:
		o := p.output(item.Output.Step)
		o.lines.write(item.Output.Data, p.emit(item.Output.Step, o))
	}
}

func (p *plainWriter) output(step string) *plainOutput {
	if p.outputs[step] == nil {
		p.outputs[step] = &plainOutput{}
	}
	return p.outputs[step]
}

func (p *plainWriter) emit(step string, o *plainOutput) func([]byte, bool) {
	name := cleanString(step)
	return func(line []byte, continues bool) {
		o.tail.add(line)
		separator := " | "
		if continues {
			separator = " + "
		}
		p.line(name, separator, line)
	}
}

func (p *plainWriter) line(name, separator string, line []byte) {
	p.buf.WriteString(name)
	p.buf.WriteString(separator)
	if p.clean {
		p.buf.Write(appendClean(p.buf.AvailableBuffer(), line))
	} else {
		p.buf.Write(line)
	}
	p.buf.WriteByte('\n')
}

// say writes a line of Strata's own with the time of day of its event.
func (p *plainWriter) say(at time.Time, format string, args ...any) {
	p.buf.WriteString(at.Format("15:04:05 "))
	fmt.Fprintf(&p.buf, format, args...)
	p.buf.WriteByte('\n')
}

func (p *plainWriter) event(e *journal.Event) {
	p.run.apply(e)
	name := cleanString(e.Step)
	switch e.Type {
	case journal.RunStarted:
		p.say(e.Time, "%s: run %s started on %s: %s, at most %d at once",
			p.run.pipeline, cleanString(e.RunID), e.Time.Format("2006-01-02 (MST)"), Count(len(p.run.steps), "step"), p.run.jobs)
	case journal.CaptureFinished:
		p.capture(e)
	case journal.Notice:
		if name != "" {
			name += ": "
		}
		p.say(e.Time, "%snote: %s", name, cleanString(e.Message))
	case journal.StepStarted:
		if why := p.run.step(e.Step).reason; why != "" {
			p.say(e.Time, "%s: runs: %s", name, why)
		}
		p.say(e.Time, "%s: started (%s): %s", name, cleanString(p.run.step(e.Step).Runner), p.command(e.Step))
	case journal.StepRetried:
		p.endOutput(e.Step)
		delete(p.outputs, e.Step) // the summary repeats that of the last attempt
		p.say(e.Time, "%s: %s", name, cleanString(e.Message))
	case journal.StepFinished:
		p.stepFinished(e, name)
	case journal.RunCancelling:
		p.say(e.Time, "cancelling: %s", cleanString(e.Message))
	}
}

// command is the step's command in one line of bounded length.
func (p *plainWriter) command(name string) string {
	const columns = 120
	return widths.Truncate(cleanString(p.run.step(name).Command), columns, "...")
}

func (p *plainWriter) capture(e *journal.Event) {
	if c := e.Capture; c != nil {
		p.say(e.Time, "workspace captured: %s, %d changed (%s), in %s",
			Count(c.Files, "file"), c.Changed, Bytes(c.Bytes), Milliseconds(c.DurationMS))
	}
}

// endOutput writes what the step has begun as a line.
func (p *plainWriter) endOutput(step string) {
	if o := p.outputs[step]; o != nil {
		o.lines.flush(p.emit(step, o))
	}
}

func (p *plainWriter) stepFinished(e *journal.Event, name string) {
	p.endOutput(e.Step)
	if !blames(e.Status) {
		delete(p.outputs, e.Step)
	}
	p.say(e.Time, "%s: %s", name, p.result(p.run.step(e.Step)))
}

// result is how a step ended and how long it ran: "failed: exit code 1 after 3.21 s".
func (p *plainWriter) result(s *step) string {
	text := p.run.ending(s)
	if s.end == nil {
		return text
	}
	if s.end.Status == journal.Failed {
		text = "failed: " + text
	}
	switch {
	case s.end.Status == journal.Cached:
		return text + origin(s.end)
	case s.started.IsZero():
		return text
	case s.end.Status == journal.Passed:
		return text + " in " + Milliseconds(s.end.DurationMS)
	}
	return text + " after " + Milliseconds(s.end.DurationMS)
}

// origin says whose result was used: ": the result of run ID, which took 3.21 s".
func origin(e *journal.Event) string {
	if e.From == nil {
		return ""
	}
	return fmt.Sprintf(": the result of run %s, which took %s", cleanString(e.From.Run), Milliseconds(e.DurationMS))
}

// summary writes what somebody needs who reads only the end.
func (p *plainWriter) summary() {
	for _, s := range p.run.steps {
		if s.failed() {
			p.failure(s)
		}
	}
	for _, v := range p.run.victims() {
		fmt.Fprintf(&p.buf, "\n%s\n", p.run.line(v))
	}
	switch e := p.run.finished; {
	case e == nil || e.Error == nil:
	case e.Status == journal.Invalid: // nothing is wrong with the machine
		fmt.Fprintf(&p.buf, "\n%s\n", strings.Join(faultLines(e.Error), "\n"))
	default:
		fmt.Fprintf(&p.buf, "\n%s\n", Word(journal.InfraFailed))
		p.infra(e.Error)
	}
	fmt.Fprintf(&p.buf, "\n%s: %s\n", p.run.headline(), p.run.figures())
}

func (p *plainWriter) failure(s *step) {
	name := cleanString(s.Name)
	fmt.Fprintf(&p.buf, "\n%s: %s\n", name, p.result(s))
	if s.end.Status == journal.InfraFailed {
		p.infra(s.end.Error)
	}
	o := p.outputs[s.Name]
	if o == nil {
		return
	}
	last := o.tail.last(tailLines)
	for _, line := range last {
		p.line(name, " | ", line)
	}
	if o.tail.total > len(last) {
		fmt.Fprintf(&p.buf, "these are the last %d of %d lines; strata logs %s shows all\n", len(last), o.tail.total, name)
	}
}

func (p *plainWriter) infra(e *journal.Error) {
	for _, l := range errorLines(e) {
		fmt.Fprintf(&p.buf, "  %-5s  %s\n", l[0], l[1])
	}
}
