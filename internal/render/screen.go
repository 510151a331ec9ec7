package render

import (
	"bytes"
	"fmt"
	"io"
	"slices"
)

// The escape sequences that are written, of ECMA-48 and DEC's private modes.
// Mode 2026 (synchronized update) makes a terminal show a frame at once; those
// that do not know it ignore it. Without mode 7 (automatic wrap) a character
// whose width the terminal sees differently cannot break the picture.
const (
	beginFrame = "\x1b[?2026h\x1b[?7l"
	endFrame   = "\x1b[?7h\x1b[?2026l"
	hideCursor = "\x1b[?25l"
	showCursor = "\x1b[?25h"
	cursorUp   = "\x1b[%dA"
	eraseLine  = "\x1b[K" // from the cursor on
	eraseBelow = "\x1b[J" // from the cursor on
)

// screen draws a live region at the end of a terminal's text, in place, and
// lets finished lines scroll up above it. The cursor rests on an empty row below
// the region, where an echoed ^C does no harm. Each frame is one write.
type screen struct {
	out    io.Writer
	colors Colors

	begun         bool
	width, height int
	live          []string // the rows on the screen
	liveWidths    []int    // and their widths
}

// draw puts finished rows above the region and the live ones into it. Nothing is
// written where nothing has changed.
func (s *screen) draw(finished, live []row, width, height int) error {
	lines, lineWidths := s.paint(live, width)
	resized := width != s.width || height != s.height
	if len(finished) == 0 && !resized && slices.Equal(lines, s.live) {
		return nil
	}
	var b bytes.Buffer
	b.WriteString(beginFrame)
	if !s.begun {
		b.WriteString(hideCursor)
		s.begun = true
	}
	s.home(&b, width, height)
	above, _ := s.paint(finished, width)
	for _, line := range above {
		b.WriteString(line + eraseLine + "\n")
	}
	same := len(finished) == 0 && !resized
	for i, line := range lines {
		if !same || i >= len(s.live) || s.live[i] != line {
			b.WriteString(line + eraseLine)
		}
		b.WriteByte('\n')
	}
	b.WriteString(eraseBelow + endFrame)
	s.live, s.liveWidths, s.width, s.height = lines, lineWidths, width, height
	return s.write(b.Bytes())
}

// home moves the cursor to the region's first row. A terminal that became
// narrower has broken rows that are too long for it now.
func (s *screen) home(b *bytes.Buffer, width, height int) {
	rows := 0
	for _, w := range s.liveWidths {
		rows += max(1, (w+width-1)/width)
	}
	b.WriteByte('\r')
	if rows = min(rows, height-1); rows > 0 {
		fmt.Fprintf(b, cursorUp, rows)
	}
}

// paint keeps the last column free: erasing the rest of a full row would erase
// its last character on some terminals.
func (s *screen) paint(rows []row, width int) (lines []string, lineWidths []int) {
	for _, r := range rows {
		line, w := r.paint(s.colors, width-1)
		lines, lineWidths = append(lines, line), append(lineWidths, w)
	}
	return lines, lineWidths
}

// close gives the cursor back.
func (s *screen) close() error {
	if !s.begun {
		return nil
	}
	return s.write([]byte(showCursor))
}

func (s *screen) write(frame []byte) error {
	if _, err := s.out.Write(frame); err != nil {
		return fmt.Errorf("draw on the terminal: %w", err)
	}
	return nil
}
