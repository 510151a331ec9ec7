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
// NO_COLOR (no-color.org). It returns false where f is not a terminal.
func OpenTerminal(f *os.File, getenv func(string) string) (Terminal, bool) {
	fd := int(f.Fd())
	if !term.IsTerminal(fd) {
		return Terminal{}, false
	}
	return Terminal{
		Out: f,
		Size: func() (int, int) {
			width, height, err := term.GetSize(fd)
			if err != nil {
				return defaultWidth, defaultHeight
			}
			return width, height
		},
		Colors: getenv("NO_COLOR") == "",
		Dumb:   getenv("TERM") == "dumb" || !enableEscapes(f),
		Now:    time.Now,
	}, true
}
