// Package source is how every front end shows what is wrong in the source
// text of a pipeline.
//
// In: a place, a message and the text. Out: an error that shows the line. It
// never reads files.
package source

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/strata-ci/strata/pipeline"
)

// Error is one thing that is wrong in a source file.
type Error struct {
	// Pos is the place; its file is relative to the project.
	Pos pipeline.Position
	// Message says what is wrong and what to do.
	Message string
	// Line is the text of the line, empty if unknown.
	Line string
	// Calls is how the program got there, innermost call first.
	Calls []Call
	// Err is the cause, where a program is to tell it apart. May be nil.
	Err error
}

// Call is a place that a function was called from.
type Call struct {
	Pos pipeline.Position
	// What tells what the place did, such as "called from" or "loaded by".
	What string
}

// Error returns the place and the message, the line with a caret, and the
// calls, each on a line of its own.
func (e *Error) Error() string {
	var s strings.Builder
	if place := e.Pos.String(); place != "" {
		s.WriteString(place + ": ")
	}
	s.WriteString(e.Message)
	if excerpt := Excerpt(e.Pos, e.Line); excerpt != "" {
		s.WriteString("\n" + excerpt)
	}
	for _, c := range e.Calls {
		fmt.Fprintf(&s, "\n    %s %s", c.What, c.Pos)
	}
	return s.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Text is the text of a source file, cut into lines.
type Text []string

// NewText cuts a file into lines.
func NewText(data []byte) Text {
	return strings.Split(strings.ReplaceAll(string(data), "\r\n", "\n"), "\n")
}

// Line returns a line without its end, counted from 1, or "" beyond the text.
func (t Text) Line(n int) string {
	if n < 1 || n > len(t) {
		return ""
	}
	return t[n-1]
}

const (
	width   = 100     // how many characters of a line an excerpt shows
	longest = 1 << 20 // bytes of a line that is worth an excerpt
)

// Excerpt returns the line with its number, and below it a caret at the
// column; "" if there is no line to show. Long lines are cut around the column.
func Excerpt(pos pipeline.Position, line string) string {
	if pos.Line < 1 || len(line) > longest || strings.TrimSpace(line) == "" {
		return ""
	}
	runes := []rune(strings.ToValidUTF8(line, "\uFFFD"))
	col := min(pos.Col-1, len(runes))
	begin := 0
	if col > width*3/4 {
		begin = col - width/2
	}
	shown := runes[begin:min(begin+width, len(runes))]
	text, under := printable(shown), ""
	if col >= 0 {
		under = strings.Map(blank, printable(shown[:col-begin])) + "^"
	}
	number := strconv.Itoa(pos.Line)
	s := fmt.Sprintf("    %s | %s", number, strings.TrimRight(text, " \t"))
	if under != "" {
		s += fmt.Sprintf("\n    %s | %s", strings.Repeat(" ", len(number)), under)
	}
	return s
}

// printable keeps a line of a file from controlling the terminal.
func printable(runes []rune) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && unicode.IsControl(r) {
			return '\uFFFD'
		}
		return r
	}, string(runes))
}

func blank(r rune) rune {
	if r == '\t' {
		return r
	}
	return ' '
}
