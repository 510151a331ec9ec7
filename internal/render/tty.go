package render

import (
	"context"
	"time"

	"github.com/strata-ci/strata/internal/journal"
)

// frameInterval is the time between frames: fast enough for a spinner to look
// smooth, slow enough for a connection over a network.
const frameInterval = 80 * time.Millisecond

// TTY shows a run on a terminal, inline: a region at the end is redrawn in place
// while the run goes on, failures and notes scroll up as they come, and the whole
// tree of steps and a verdict stay when it ends. On a dumb terminal it writes
// plain lines.
//
// items has to end when ctx does. TTY returns once items has ended, with its
// first error or with that of writing to the terminal.
func TTY(ctx context.Context, t Terminal, items Items) error {
	if t.Dumb {
		return plain(t.Out, true, items)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	v := newView()
	pulled := make(chan error, 1)
	go func() { pulled <- v.pull(ctx, items) }()

	s := &screen{out: t.Out, colors: t.Colors}
	err, ended := animate(s, v, t, pulled)
	if !ended { // the terminal is gone: nobody is left to show the rest to
		cancel()
		if pullErr := <-pulled; err == nil {
			err = pullErr
		}
	}
	if closeErr := s.close(); err == nil {
		err = closeErr
	}
	return err
}

// Static writes what stays on the screen when a run has ended: failures, the
// tree of steps and the verdict. It is for runs that are over, or for a look at
// how far one is; items has to end by itself.
func Static(t Terminal, items Items) error {
	v := newView()
	err := v.pull(context.Background(), items)
	s := &screen{out: t.Out, colors: t.Colors}
	width, _ := size(t)
	lines, _ := s.paint(v.final(width), width)
	for _, line := range lines {
		if writeErr := s.write([]byte(line + "\n")); writeErr != nil {
			return writeErr
		}
	}
	return err
}

// animate draws frames until the items have ended, and then the last one. It
// returns the error of the items, if they have ended, or else of the drawing.
func animate(s *screen, v *view, t Terminal, pulled <-chan error) (err error, ended bool) {
	frames := t.Frames
	if frames == nil {
		ticker := time.NewTicker(frameInterval)
		defer ticker.Stop()
		frames = ticker.C
	}
	for {
		select {
		case err := <-pulled:
			width, height := size(t)
			if drawErr := s.draw(v.final(width), nil, width, height); err == nil {
				err = drawErr
			}
			return err, true
		case <-frames:
			now := t.Now()
			width, height := size(t)
			finished, live := v.frame(width, height, now)
			if err := s.draw(finished, live, width, height); err != nil {
				return err, false
			}
		}
	}
}

func size(t Terminal) (width, height int) {
	width, height = t.Size()
	if width <= 0 || height <= 0 {
		return defaultWidth, defaultHeight
	}
	return width, height
}

// pull takes the items in until they or ctx end.
func (v *view) pull(ctx context.Context, items Items) error {
	for item, err := range items {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		v.apply(item)
	}
	return ctx.Err()
}

// apply takes one item in.
func (v *view) apply(item journal.Item) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case item.Event != nil:
		v.event(item.Event)
	case item.Output != nil:
		v.output(item.Output)
	}
}
