package render

import (
	"strings"
	"unicode/utf8"

	"github.com/strata-ci/strata/internal/journal"
)

// Colors paints text with the 16 colours that every terminal's owner has
// chosen; false leaves text as it is.
type Colors bool

// The parameters of ECMA-48's SGR that are used.
const (
	normal = ""
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

// Status paints text in the colour of a status.
func (c Colors) Status(s journal.Status, text string) string { return c.paint(statusColor(s), text) }

func (c Colors) paint(style, text string) string {
	if !c || style == normal || text == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

func statusColor(s journal.Status) string {
	switch s {
	case journal.Passed, journal.Cached:
		return green
	case journal.Failed, journal.TimedOut, journal.InfraFailed:
		return red
	case journal.Skipped, journal.Cancelled, journal.Interrupted:
		return yellow
	}
	return dim
}

// text is a piece of a row in one style.
type text struct{ style, s string }

// row is one line of the screen.
type row []text

// paint returns the row as the terminal gets it, and its width in columns, which
// is at most width.
func (r row) paint(c Colors, width int) (string, int) {
	var b strings.Builder
	used := 0
	for _, t := range r {
		if used >= width {
			break
		}
		s := t.s
		if w := widths.StringWidth(s); used+w > width {
			s = widths.Truncate(s, width-used, "…")
		}
		used += widths.StringWidth(s)
		b.WriteString(c.paint(t.style, s))
		if len(s) < len(t.s) {
			break
		}
	}
	return b.String(), used
}

// paragraph is text that may take several rows: first leads the first row, rest
// the others.
type paragraph struct{ first, rest, body text }

// rows breaks the paragraph at width columns, between words where that leaves no
// large gap. Where limit rows do not hold it, the last one is too wide, so that
// it is cut where it is painted, and shows that.
func (p paragraph) rows(width, limit int) []row {
	var rows []row
	lead, s := p.first, p.body.s
	for {
		part := s
		if len(rows) < limit-1 {
			part = s[:lineBreak(s, max(width-widths.StringWidth(lead.s), 2))]
		}
		rows = append(rows, row{lead, {p.body.style, part}})
		if s = s[len(part):]; s == "" {
			return rows
		}
		lead = p.rest
	}
}

// lineBreak returns how much of s to put on a line of width columns, which is at
// least 2: not nothing, unless s is empty.
func lineBreak(s string, width int) int {
	n := len(widths.Truncate(s, width, ""))
	if n == len(s) {
		return n
	}
	if space := strings.LastIndexByte(s[:n], ' '); space > n/2 {
		return space + 1
	}
	if n == 0 { // a character that is wider than the line
		_, n = utf8.DecodeRuneInString(s)
	}
	return n
}
