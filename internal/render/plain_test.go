package render

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/strata-ci/strata/internal/journal"
)

func plainText(t *testing.T, s *story, clean bool) string {
	t.Helper()
	var out bytes.Buffer
	if err := plain(&out, clean, s.stream()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestPlainGolden(t *testing.T) {
	for name, s := range stories() {
		golden(t, "plain-"+name+".golden", plainText(t, s, false))
	}
}

// stepLines are the lines of the step's output, without the parts around them.
func stepLines(out string) []string {
	var lines []string
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "a | ") || strings.HasPrefix(line, "a + ") {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	return lines
}

func outputStory(pieces ...string) *story {
	s := newStory("p", journal.Step{Name: "a"})
	s.start("a")
	for _, piece := range pieces {
		s.out("a", piece)
	}
	s.pass("a")
	s.finish(journal.Passed, 0)
	return s
}

func TestPlainLines(t *testing.T) {
	long := strings.Repeat("x", maxLine-1) + "é" + "end"
	for _, test := range []struct {
		name, text string
		want       []string
	}{
		{"no last newline", "one\ntwo", []string{"a | one", "a | two"}},
		{"empty lines", "\n\nx\n", []string{"a | ", "a | ", "a | x"}},
		{"CRLF", "one\r\ntwo\r\r\n", []string{"a | one", "a | two"}},
		{"progress", "1 %\r2 %\r3 %\ndone\n", []string{"a | 3 %", "a | done"}},
		{"progress without an end", "1 %\r2 %\r", []string{"a | 2 %"}},
		{"invalid UTF-8", "a\xff\xc3\xfe\n\xe2\x82", []string{"a | a\xff\xc3\xfe", "a | \xe2\x82"}},
		{"colours stay", "\x1b[31mred\x1b[0m\n", []string{"a | \x1b[31mred\x1b[0m"}},
		{"long line", long + "\nnext\n", []string{"a | " + strings.Repeat("x", maxLine-1), "a + éend", "a | next"}},
		{"exactly the limit", strings.Repeat("y", maxLine) + "\nz\n", []string{"a | " + strings.Repeat("y", maxLine), "a | z"}},
	} {
		// However the text is cut, the lines are the same.
		cuts := [][]string{{test.text}, strings.Split(test.text, "")}
		for seed := range uint64(5) {
			cuts = append(cuts, cut(test.text, rand.New(rand.NewPCG(seed, 1))))
		}
		for i, pieces := range cuts {
			got := stepLines(plainText(t, outputStory(pieces...), false))
			if strings.Join(got, "\n") != strings.Join(test.want, "\n") {
				t.Errorf("%s, cut %d: got %.300q, want %.300q", test.name, i, got, test.want)
			}
		}
	}
}

// cut cuts text into pieces of up to 100 bytes, without regard to characters.
func cut(text string, r *rand.Rand) []string {
	var pieces []string
	for len(text) > 0 {
		n := min(1+r.IntN(100), len(text))
		pieces = append(pieces, text[:n])
		text = text[n:]
	}
	return pieces
}

func TestPlainOnATerminal(t *testing.T) {
	hostile := "\x1b]0;title\x07a\x1b[2J\x1b[31mb\x1b[0m\tc\x9bd\xff\u202ee\u009bf\x08g\x1bPq\x1b\\h\x1b[?1049hi\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\n"
	got := stepLines(plainText(t, outputStory(hostile), true))
	want := "a | ab      c\ufffdd\ufffdefghilink"
	if len(got) != 1 || got[0] != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Names and messages are Strata's own lines, so nothing in them may act, in a
// pipe either.
func TestPlainMessagesAreClean(t *testing.T) {
	s := newStory("p\x1b[2J", journal.Step{Name: "a", Command: "echo \x1b[1m\nexit"})
	s.event(journal.Event{Type: journal.Notice, Message: "one\ntwo\x1b]0;x\x07"})
	s.start("a")
	s.end("a", journal.Event{Status: journal.InfraFailed, Error: &journal.Error{Op: "x\x1b[A", Kind: "\x07", Message: "y\nz"}})
	s.finish(journal.InfraFailed, 3)
	got := plainText(t, s, false)
	if strings.ContainsAny(got, "\x1b\x07") {
		t.Errorf("control characters got through: %q", got)
	}
	for _, want := range []string{"note: one two\n", "echo  exit\n", "error  y z\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
}

// Lines of steps that run at once are never mixed within a line.
func TestPlainParallelSteps(t *testing.T) {
	s := newStory("p", journal.Step{Name: "a"}, journal.Step{Name: "b"})
	s.start("a")
	s.start("b")
	s.out("a", "one ")
	s.out("b", "un ")
	s.out("a", "two\n")
	s.out("b", "deux\n")
	got := plainText(t, s, false)
	if !strings.Contains(got, "a | one two\nb | un deux\n") {
		t.Errorf("lines are mixed:\n%s", got)
	}
	if !strings.Contains(got, "p has not finished: 2 not finished\n") {
		t.Errorf("a run without an end does not say so:\n%s", got)
	}
}

func TestPlainShowsTheTailOfAFailedStep(t *testing.T) {
	s := newStory("p", journal.Step{Name: "a"})
	s.start("a")
	for i := range 100 {
		s.out("a", fmt.Sprintf("line %d\n", i))
	}
	s.end("a", journal.Event{Status: journal.Failed, ExitCode: code(7)})
	s.finish(journal.Failed, 1)
	out := plainText(t, s, false)
	_, end, _ := strings.Cut(out, "\n\n")
	if !strings.HasPrefix(end, "a: failed: exit code 7") {
		t.Errorf("the failed step does not come again:\n%s", end)
	}
	if lines := stepLines(end); len(lines) != 40 || lines[0] != "a | line 60" || lines[39] != "a | line 99" {
		t.Errorf("the tail is %q", lines)
	}
	if !strings.Contains(end, "strata logs a ") {
		t.Errorf("no hint to the whole log:\n%s", end)
	}
}

func TestErrorsEndTheRenderers(t *testing.T) {
	broken := errors.New("the journal is damaged")
	bad := func(yield func(journal.Item, error) bool) { yield(journal.Item{}, broken) }
	for name, show := range map[string]func(io.Writer, Items) error{"plain": Plain, "json": JSON} {
		if err := show(io.Discard, bad); !errors.Is(err, broken) {
			t.Errorf("%s: got %v for an error of the journal", name, err)
		}
		if err := show(closedPipe{}, passing().stream()); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%s: got %v for a closed pipe", name, err)
		}
	}
}

type closedPipe struct{}

func (closedPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// The memory for a line without an end is bounded.
func TestPlainBoundsMemory(t *testing.T) {
	var l lines
	piece := bytes.Repeat([]byte("\xa9"), 64<<10)
	for range 100 {
		l.write(piece, func([]byte, bool) {})
	}
	if cap(l.held) > 4*maxLine {
		t.Errorf("%d bytes are held", cap(l.held))
	}
}

func BenchmarkPlain(b *testing.B) {
	piece := strings.Repeat("a line of a log that is about eighty characters long, as many lines of logs are\n", 400)
	s := newStory("p", journal.Step{Name: "a"})
	s.start("a")
	for range 100 {
		s.out("a", piece)
	}
	b.SetBytes(int64(100 * len(piece)))
	for b.Loop() {
		if err := Plain(io.Discard, s.stream()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkView(b *testing.B) {
	piece := strings.Repeat("a line of a log that is about eighty characters long, as many lines of logs are\n", 400)
	b.SetBytes(int64(len(piece)))
	v := newView()
	for b.Loop() {
		v.apply(journal.Item{Output: &journal.Output{Step: "a", Data: []byte(piece)}})
	}
}
