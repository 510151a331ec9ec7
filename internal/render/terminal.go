package render

import (
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// Terminal is where TTY draws.
type Terminal struct {
	Out io.Writer
	// Size returns columns and rows. It is asked before each frame, so that a
	// resized window is right within one frame.
	Size   func() (width, height int)
	Colors Colors
	// Dumb says that the terminal understands no escape sequences.
	Dumb bool
	// Now is the clock by which running steps are timed.
	Now func() time.Time
	// Frames says when to draw; nil for about twelve times a second.
	Frames <-chan time.Time
}

// The size that is assumed where a terminal does not tell its own: that of the
// VT100.
const defaultWidth, defaultHeight = 80, 24

// OpenTerminal describes the terminal that f is, by the variables TERM and
// NO_COLOR (no-color.org). Where f is none it returns false, with a description
// of one without colours, for those who want to draw on it all the same.
func OpenTerminal(f *os.File, getenv func(string) string) (Terminal, bool) {
	fd := int(f.Fd())
	isTerminal := term.IsTerminal(fd)
	return Terminal{
		Out: f,
		Size: func() (int, int) {
			width, height, err := term.GetSize(fd)
			if err != nil {
				return defaultWidth, defaultHeight
			}
			return width, height
		},
		Colors: Colors(isTerminal && getenv("NO_COLOR") == ""),
		Dumb:   getenv("TERM") == "dumb" || isTerminal && !enableEscapes(f),
		Now:    time.Now,
	}, isTerminal
}
