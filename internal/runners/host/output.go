package host

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/strata-ci/strata/runner"
)

// output carries what the command writes from pipes to the step's writers.
type output struct {
	stdout, stderr *os.File // the command's ends; one pipe for both where the writers are the same
	copies         []*outputCopy
	failed         chan struct{} // closed when a writer fails
	failOnce       sync.Once
}

// outputCopy is one pipe and the goroutine that reads it.
type outputCopy struct {
	from *os.File
	to   io.Writer
	done chan error
}

// openOutput makes the pipes. Until start nothing is read.
func openOutput(sc *runner.StepContext) (*output, error) {
	o := &output{failed: make(chan struct{})}
	var err error
	if o.stdout, err = o.pipe(sc.Stdout); err != nil {
		return nil, err
	}
	if sc.OneWriter() {
		o.stderr = o.stdout
		return o, nil
	}
	if o.stderr, err = o.pipe(sc.Stderr); err != nil {
		return nil, errors.Join(err, o.stdout.Close(), o.copies[0].from.Close())
	}
	return o, nil
}

func (o *output) pipe(to io.Writer) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	o.copies = append(o.copies, &outputCopy{from: r, to: to, done: make(chan error, 1)})
	return w, nil
}

// closeWriters gives up this process's ends of the pipes.
func (o *output) closeWriters() {
	o.stdout.Close()
	if o.stderr != o.stdout {
		o.stderr.Close()
	}
}

// start begins to copy.
func (o *output) start() {
	for _, c := range o.copies {
		go func() { c.done <- c.run(o.fail) }()
	}
}

// discard closes pipes that were never started.
func (o *output) discard() {
	for _, c := range o.copies {
		c.from.Close()
	}
}

func (o *output) fail() { o.failOnce.Do(func() { close(o.failed) }) }

// finish waits until all that the command's processes wrote is with the step's
// writers, and returns their first error. It is called when the processes are
// gone; a pipe that somebody else still holds open does not keep it.
func (o *output) finish() error {
	var errs []error
	for _, c := range o.copies {
		// The reader wakes and goes on without waiting for more.
		if err := c.from.SetReadDeadline(time.Now()); err != nil && !errors.Is(err, os.ErrNoDeadline) {
			errs = append(errs, err)
		}
	}
	for _, c := range o.copies {
		errs = append(errs, <-c.done, c.from.Close())
	}
	return errors.Join(errs...)
}

// run copies until the pipe ends. After the writer's first error it goes on
// reading, so that the command is not stopped by a full pipe while it is ended.
func (c *outputCopy) run(fail func()) error {
	buf := make([]byte, 64<<10) // a pipe's size on Linux
	read := c.from.Read
	var failure error
	for {
		n, err := read(buf)
		if n > 0 && failure == nil {
			if _, failure = c.to.Write(buf[:n]); failure != nil {
				fail()
			}
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			// All that is to come is in the pipe already.
			if err := c.from.SetReadDeadline(time.Time{}); err != nil {
				return errors.Join(failure, err)
			}
			read = func(buf []byte) (int, error) { return readNow(c.from, buf) }
		case errors.Is(err, io.EOF):
			return failure
		case err != nil:
			return errors.Join(failure, err)
		}
	}
}
