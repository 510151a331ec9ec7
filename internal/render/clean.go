package render

import (
	"bytes"
	"unicode"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
)

// tabStop is the distance of tab stops in columns, as terminals have it.
const tabStop = 8

// widths measures text as terminals outside East Asian legacy locales do.
// Nothing changes it after its creation.
var widths = &runewidth.Condition{StrictEmojiNeutral: true}

// cleanString is appendClean for one-line texts such as names and messages:
// line breaks become spaces.
func cleanString(s string) string {
	if isPlainASCII(s) {
		return s
	}
	b := bytes.Map(func(r rune) rune {
		if r == '\n' || r == '\r' {
			return ' '
		}
		return r
	}, []byte(s))
	return string(bytes.TrimSpace(appendClean(nil, b)))
}

func isPlainASCII(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// appendClean appends a line of output to dst so that it cannot act on a
// terminal: escape sequences, control characters and the invisible characters
// that reorder text are left out, tabs become spaces, bytes that are not UTF-8
// become U+FFFD.
func appendClean(dst, line []byte) []byte {
	c := cleaner{dst: dst}
	for len(line) > 0 {
		if b := line[0]; b >= ' ' && b <= '~' {
			c.dst = append(c.dst, b)
			c.col++
			line = line[1:]
			continue
		}
		line = line[c.special(line):]
	}
	return c.dst
}

type cleaner struct {
	dst []byte
	col int // the column that the next character gets
	// unterminated is set once a control string had no end in the line, so
	// that hostile input costs one search only.
	unterminated bool
}

// special handles a character other than printable ASCII at the start of line
// and returns its length in bytes, which is at least 1.
func (c *cleaner) special(line []byte) int {
	switch line[0] {
	case '\t':
		for n := tabStop - c.col%tabStop; n > 0; n-- {
			c.dst = append(c.dst, ' ')
			c.col++
		}
		return 1
	case 0x1b:
		return c.escape(line)
	}
	r, size := utf8.DecodeRune(line)
	if harmless(r) {
		c.dst = utf8.AppendRune(c.dst, r)
		c.col += widths.RuneWidth(r)
	}
	return size
}

// harmless reports whether a terminal only draws r. Format characters (Unicode
// category Cf) reorder or hide text; the zero-width joiner is part of emoji.
func harmless(r rune) bool {
	const joiner, lineSeparator, paragraphSeparator = 0x200d, 0x2028, 0x2029
	switch {
	case r == joiner:
		return true
	case r == lineSeparator, r == paragraphSeparator:
		return false
	}
	return !unicode.In(r, unicode.Cc, unicode.Cf)
}

// escape returns the length of the escape sequence at the start of line, as
// ECMA-48 defines them. Of a broken one it takes what is surely not text.
func (c *cleaner) escape(line []byte) int {
	if len(line) < 2 {
		return 1
	}
	switch b := line[1]; {
	case b == '[': // control sequence: parameters, intermediates, final byte
		n := span(line, 2, 0x30, 0x3f)
		n = span(line, n, 0x20, 0x2f)
		return span(line, n, 0x40, 0x7e, 1)
	case b == ']' || b == 'P' || b == 'X' || b == '^' || b == '_':
		return c.controlString(line)
	case b >= 0x20 && b <= 0x2f: // intermediates, final byte
		return span(line, span(line, 1, 0x20, 0x2f), 0x30, 0x7e, 1)
	case b >= 0x30 && b <= 0x7e:
		return 2
	}
	return 1
}

// controlString returns the length of a string such as a window title, which
// ends with BEL or ST; only that of its introducer where there is no end.
func (c *cleaner) controlString(line []byte) int {
	if c.unterminated {
		return 2
	}
	for i := 2; i < len(line); i++ {
		switch {
		case line[i] == 0x07:
			return i + 1
		case line[i] == 0x1b && i+1 < len(line) && line[i+1] == '\\':
			return i + 2
		}
	}
	c.unterminated = true
	return 2
}

// span returns the first index from n on whose byte is outside low to high,
// after at most limit bytes where a limit is given.
func span(line []byte, n int, low, high byte, limit ...int) int {
	end := len(line)
	if len(limit) > 0 {
		end = min(end, n+limit[0])
	}
	for n < end && line[n] >= low && line[n] <= high {
		n++
	}
	return n
}
