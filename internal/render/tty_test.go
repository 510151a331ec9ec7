package render

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/strata-ci/strata/internal/journal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// theater shows a story on an emulator, frame by frame.
type theater struct {
	t      *testing.T
	screen *emulator
	frames chan time.Time
	items  chan journal.Item
	taken  chan struct{}
	ended  chan error
	clock  chan time.Time
	now    time.Time
	shown  int
}

func open(t *testing.T, width, height int, colors Colors) *theater {
	t.Helper()
	th := &theater{
		t: t, screen: newEmulator(t, width, height),
		frames: make(chan time.Time), clock: make(chan time.Time),
		items: make(chan journal.Item), taken: make(chan struct{}), ended: make(chan error, 1),
	}
	term := Terminal{Out: th.screen, Size: th.screen.size, Colors: colors, Now: func() time.Time { return <-th.clock }, Frames: th.frames}
	go func() {
		th.ended <- TTY(context.Background(), term, func(yield func(journal.Item, error) bool) {
			for item := range th.items {
				if !yield(item, nil) {
					return
				}
				th.taken <- struct{}{}
			}
		})
	}()
	th.frames <- th.now
	return th
}

// play shows what the story has told since, and draws.
func (th *theater) play(s *story) {
	for ; th.shown < len(s.items); th.shown++ {
		th.items <- s.items[th.shown]
		<-th.taken
	}
	th.now = s.now
	th.draw()
}

// draw draws the frame that has asked for the time and waits for it: between
// calls TTY stands at the beginning of the next frame.
func (th *theater) draw() {
	th.clock <- th.now
	th.frames <- th.now
}

func (th *theater) close() {
	th.t.Helper()
	close(th.items)
	th.clock <- th.now
	if err := <-th.ended; err != nil {
		th.t.Error(err)
	}
	if th.screen.hidden {
		th.t.Error("the cursor is still hidden")
	}
}

// TestTTYGolden shows whole runs at several widths: pictures at the moments that
// the script names, and what stays.
func TestTTYGolden(t *testing.T) {
	for _, width := range []int{80, 40, 20} {
		for name, s := range stories() {
			golden(t, fmt.Sprintf("tty-%s-%d.golden", name, width), film(t, s, width, 24))
		}
	}
}

// film returns the window after each started step and at the end.
func film(t *testing.T, s *story, width, height int) string {
	th := open(t, width, height, false)
	var out strings.Builder
	all := s.items
	for i, item := range all {
		if item.Event == nil || item.Event.Type != journal.StepStarted {
			continue
		}
		last := i
		for last+1 < len(all) && all[last+1].Output != nil {
			last++
		}
		s.items, s.now = all[:last+1], item.Event.Time.Add(time.Second)
		th.play(s)
		fmt.Fprintf(&out, "--- %s has started\n%s", item.Event.Step, th.screen.window())
	}
	s.items = all
	th.play(s)
	th.close()
	fmt.Fprintf(&out, "--- the end\n%s", th.screen.text())
	return out.String()
}

func TestTTYColors(t *testing.T) {
	for _, colors := range []Colors{true, false} {
		th := open(t, 80, 24, colors)
		th.play(failing())
		th.close()
		if th.screen.colors != bool(colors) {
			t.Errorf("with colours %v, styles were used: %v", colors, th.screen.colors)
		}
	}
}

func TestTTYWritesOnlyChanges(t *testing.T) {
	th := open(t, 80, 24, true)
	s := newStory("ci", goProject()...)
	s.start("build")
	th.play(s)
	frames := th.screen.frames
	th.draw()
	if th.screen.frames != frames {
		t.Error("a frame without a change was written")
	}
	s.pass("build")
	th.play(s)
	if th.screen.frames != frames+1 {
		t.Errorf("a change took %d writes", th.screen.frames-frames)
	}
	th.close()
}

func TestTTYManySteps(t *testing.T) {
	s := newStory("big", manySteps(200)...)
	th := open(t, 80, 24, false)
	var pictures strings.Builder
	look := func(title string) {
		s.wait(1100 * time.Millisecond)
		th.play(s)
		window := th.screen.window()
		if rows := strings.Count(window, "\n"); rows > 24 {
			t.Errorf("%s: %d rows", title, rows)
		}
		fmt.Fprintf(&pictures, "--- %s\n%s", title, window)
	}
	name := func(i int) string { return fmt.Sprintf("step-%03d", i) }
	for i := range 4 {
		s.start(name(i))
		s.out(name(i), "one\ntwo\nthree\nfour\n")
	}
	look("four run")
	for i := range 4 {
		s.pass(name(i))
	}
	for i := 4; i < 34; i++ {
		s.start(name(i))
	}
	look("thirty run")
	for i := 4; i < 34; i++ {
		if i%3 == 0 {
			s.end(name(i), journal.Event{Status: journal.Failed, ExitCode: code(i)})
		} else {
			s.pass(name(i))
		}
	}
	s.start(name(34))
	look("ten have failed")
	s.pass(name(34))
	for i := 35; i < 200; i++ {
		s.end(name(i), journal.Event{Status: journal.Skipped, Cause: name(6)})
	}
	s.finish(journal.Failed, 1)
	th.play(s)
	th.close()
	golden(t, "tty-200.golden", pictures.String()+"--- the end\n"+th.screen.window())
}

func manySteps(n int) []journal.Step {
	steps := make([]journal.Step, n)
	for i := range steps {
		steps[i].Name = fmt.Sprintf("step-%03d", i)
		if i > 0 {
			steps[i].BuildsIn = fmt.Sprintf("step-%03d", i-1)
		}
	}
	return steps
}

// Whatever the size is and however it changes, nothing is wider or higher than
// the window, and the last picture stands in it once, without remains.
func TestTTYResize(t *testing.T) {
	s := newStory("ci", goProject()...)
	th := open(t, 80, 24, true)
	s.start("build")
	s.out("build", strings.Repeat("a long line of output 中文 ", 20)+"\n")
	th.play(s)
	for _, size := range [][2]int{{40, 24}, {41, 24}, {20, 24}, {80, 24}, {80, 12}, {30, 8}, {120, 40}, {79, 40}} {
		th.screen.resize(size[0], size[1])
		s.wait(time.Second)
		th.play(s)
		if n := strings.Count(th.screen.window(), "ci  0 of 5"); n != 1 {
			t.Errorf("at %v the footer is there %d times:\n%s", size, n, th.screen.window())
		}
	}
	th.screen.resize(3, 1)
	th.draw()
	th.close()
}

func TestTTYCancel(t *testing.T) {
	s := newStory("ci", goProject()...)
	th := open(t, 60, 24, false)
	s.start("build")
	s.out("build", "working\n")
	s.wait(2 * time.Second)
	s.event(journal.Event{Type: journal.RunCancelling, Message: "interrupted"})
	th.play(s)
	if !strings.Contains(th.screen.window(), "cancelling… (Ctrl-C again to kill)") {
		t.Errorf("no sign of the cancelling:\n%s", th.screen.window())
	}
	s.wait(time.Second)
	for _, step := range goProject() {
		s.end(step.Name, journal.Event{Status: journal.Cancelled})
	}
	s.finish(journal.Cancelled, 130)
	th.play(s)
	th.close()
	golden(t, "tty-cancel.golden", th.screen.text())
}

// A hostile log, title or message cannot act on the terminal: the emulator knows
// no other sequence than those of screen.
func TestTTYHostileOutput(t *testing.T) {
	evil := "\x1b]0;title\x07\x1b[2J\x1b[10;10H\x1b[?1049h\x1bc\u009b2J\x08\x08\x07\x0e\u202e\x1b[31m"
	s := newStory("p"+evil, journal.Step{Name: "a", Label: "label" + evil}, journal.Step{Name: "b"})
	s.event(journal.Event{Type: journal.Notice, Message: "notice" + evil})
	s.event(journal.Event{Type: journal.RunCancelling, Message: "reason" + evil})
	s.start("a")
	s.out("a", evil+"visible\n\ttab\xff\xfe\n"+evil)
	th := open(t, 80, 24, true)
	th.play(s)
	for _, want := range []string{"label", "visible", "        tab��", "! notice", "reason"} {
		if !strings.Contains(th.screen.window(), want) {
			t.Errorf("no %q in:\n%s", want, th.screen.window())
		}
	}
	s.end("a", journal.Event{Status: journal.InfraFailed, Signal: evil, Error: &journal.Error{Op: evil, Kind: evil, Message: evil}})
	s.end("b", journal.Event{Status: journal.Skipped, Cause: evil})
	s.finish(journal.InfraFailed, 3)
	th.play(s)
	th.close()
}

func TestTTYShowsTheTailOfAFailedStep(t *testing.T) {
	s := newStory("p", journal.Step{Name: "a", Label: "the tests"})
	s.start("a")
	for i := range 100 {
		s.out("a", fmt.Sprintf("line %d\n", i))
	}
	s.out("a", "an end without a line feed, "+strings.Repeat("that is long, ", 10)+"stop")
	s.end("a", journal.Event{Status: journal.Failed, Signal: "SIGSEGV", ExitCode: code(-1)})
	s.finish(journal.Failed, 1)
	th := open(t, 60, 24, false)
	th.play(s)
	th.close()
	text := th.screen.text()
	for _, want := range []string{
		"✗ the tests failed: killed by SIGSEGV", "│ line 61\n", "│ line 99\n", "that is long, stop\n",
		"the last 40 of 101 lines; all: strata logs a\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	if strings.Contains(text, "line 60\n") {
		t.Error("more than the tail is shown")
	}
}

func TestTTYDumb(t *testing.T) {
	var dumb, plainly strings.Builder
	if err := TTY(context.Background(), Terminal{Out: &dumb, Dumb: true}, failing().stream()); err != nil {
		t.Fatal(err)
	}
	if err := plain(&plainly, true, failing().stream()); err != nil {
		t.Fatal(err)
	}
	if dumb.String() != plainly.String() {
		t.Error("a dumb terminal does not get plain lines")
	}
}

func TestTTYEnds(t *testing.T) {
	screen := newEmulator(t, 80, 24)
	term := Terminal{Out: screen, Size: screen.size, Now: time.Now, Frames: make(chan time.Time)}
	damaged := errors.New("the journal is damaged")
	err := TTY(context.Background(), term, func(yield func(journal.Item, error) bool) {
		for _, item := range failing().items[:5] {
			yield(item, nil)
		}
		yield(journal.Item{}, damaged)
	})
	if !errors.Is(err, damaged) || screen.hidden || !strings.Contains(screen.text(), "ci has not finished") {
		t.Errorf("error %v, cursor hidden %v:\n%s", err, screen.hidden, screen.text())
	}

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := TTY(ctx, term, failing().stream()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v for an ended context", err)
	}

	// A terminal that is gone ends it, though the items go on for ever.
	frames := make(chan time.Time)
	gone := Terminal{Out: closedPipe{}, Size: screen.size, Now: time.Now, Frames: frames}
	err = TTY(context.Background(), gone, func(yield func(journal.Item, error) bool) {
		s := failing()
		yield(s.items[0], nil)
		frames <- time.Now()
		for yield(s.items[1], nil) {
		}
	})
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v for a closed terminal", err)
	}
}

func TestStatic(t *testing.T) {
	screen := newEmulator(t, 80, 24)
	if err := Static(Terminal{Out: screen, Size: screen.size}, failing().stream()); err != nil {
		t.Fatal(err)
	}
	th := open(t, 80, 24, false)
	th.play(failing())
	th.close()
	if screen.text() != th.screen.text() {
		t.Errorf("static:\n%s\nlive:\n%s", screen.text(), th.screen.text())
	}
}

func TestTreeOfADamagedJournal(t *testing.T) {
	s := newStory("p", journal.Step{Name: "a", BuildsIn: "b"}, journal.Step{Name: "b", BuildsIn: "a"}, journal.Step{Name: "c", BuildsIn: "gone"}, journal.Step{})
	s.start("unknown")
	s.pass("unknown")
	s.end("c", journal.Event{Status: journal.Skipped, Cause: "nobody"})
	th := open(t, 40, 24, false)
	th.play(s)
	th.close()
	for _, name := range []string{"a\n", "b\n", "c ", "unknown "} {
		if !strings.Contains(th.screen.text(), name) {
			t.Errorf("step %q is missing:\n%s", name, th.screen.text())
		}
	}
}
