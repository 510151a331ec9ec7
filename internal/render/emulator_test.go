package render

import (
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// emulator is a terminal that understands what screen writes, and fails the
// test at anything else. It breaks rows that are too long when it becomes
// narrower, as most terminals do.
type emulator struct {
	t  *testing.T
	mu sync.Mutex

	width, height int
	rows          [][]cell // all rows, also those that scrolled away
	top           int      // the first row of the window
	x, y          int      // the cursor; y counts from the first of all rows
	hidden        bool     // the cursor
	wrap          bool
	styled        bool // some style is on
	frames        int  // writes
	colors        bool // some style was ever on
}

// cell is a column; the second one of a wide character is empty.
type cell string

func newEmulator(t *testing.T, width, height int) *emulator {
	return &emulator{t: t, width: width, height: height, rows: [][]cell{nil}, wrap: true}
}

func (e *emulator) Write(data []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.frames++
	for s := string(data); s != ""; {
		n := e.control(s)
		if n == 0 {
			r, size := utf8.DecodeRuneInString(s)
			e.print(r)
			n = size
		}
		s = s[n:]
	}
	if e.styled || !e.wrap {
		e.t.Errorf("a frame leaves a style on, or the wrap off: %q", data)
	}
	return len(data), nil
}

// control interprets the control character or sequence at the start of s and
// returns its length.
func (e *emulator) control(s string) int {
	switch s[0] {
	case '\n':
		e.x = 0
		e.y++
		for e.y >= len(e.rows) {
			e.rows = append(e.rows, nil)
		}
		e.top = max(e.top, e.y-e.height+1)
		return 1
	case '\r':
		e.x = 0
		return 1
	case 0x1b:
		end := strings.IndexFunc(s[2:], func(r rune) bool { return r >= '@' }) + 2
		e.sequence(s[1:2]+s[end:end+1], s[2:end])
		return end + 1
	}
	if s[0] < ' ' {
		e.t.Errorf("control character in %q", s)
	}
	return 0
}

func (e *emulator) sequence(kind, args string) {
	n, _ := strconv.Atoi(args)
	switch {
	case kind == "[A":
		e.y = max(e.y-max(n, 1), e.top)
	case kind == "[K" && args == "":
		e.rows[e.y] = e.rows[e.y][:min(e.x, len(e.rows[e.y]))]
	case kind == "[J" && args == "":
		e.rows[e.y] = e.rows[e.y][:min(e.x, len(e.rows[e.y]))]
		e.rows = e.rows[:e.y+1]
	case kind == "[m":
		e.styled = args != "0"
		e.colors = true
		if code := n % 10; n >= 38 && (n != 39 || code == 8) {
			e.t.Errorf("colour %s is not of the 16", args)
		}
	case args == "?25":
		e.hidden = kind == "[l"
	case args == "?7":
		e.wrap = kind == "[h"
	case args == "?2026":
	default:
		e.t.Errorf("unknown sequence %s with %q", kind, args)
	}
}

func (e *emulator) print(r rune) {
	w := widths.RuneWidth(r)
	if e.x+w > e.width {
		e.t.Errorf("row %d is wider than %d columns: %q", e.y, e.width, e.line(e.y)+string(r))
		return
	}
	row := &e.rows[e.y]
	for len(*row) < e.x+w {
		*row = append(*row, " ")
	}
	for i := range w {
		(*row)[e.x+i] = ""
	}
	if w > 0 {
		(*row)[e.x] = cell(r)
	}
	e.x += w
}

func (e *emulator) line(y int) string {
	var b strings.Builder
	for _, c := range e.rows[y] {
		b.WriteString(string(c))
	}
	return strings.TrimRight(b.String(), " ")
}

func (e *emulator) resize(width, height int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var rows [][]cell
	for y, r := range e.rows {
		for len(r) > width {
			rows = append(rows, r[:width:width])
			r = r[width:]
		}
		rows = append(rows, r)
		if y == e.y {
			e.y = len(rows) - 1
			rows = append(rows, e.rows[y+1:]...)
			break
		}
	}
	e.rows, e.width, e.height = rows, width, height
	e.top = max(0, e.y-height+1)
}

func (e *emulator) size() (int, int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.width, e.height
}

// window returns what a person sees; text also what scrolled away.
func (e *emulator) window() string { return e.join(true) }
func (e *emulator) text() string   { return e.join(false) }

func (e *emulator) join(window bool) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	first := 0
	if window {
		first = e.top
	}
	var b strings.Builder
	for y := first; y < len(e.rows); y++ {
		b.WriteString(e.line(y) + "\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}
