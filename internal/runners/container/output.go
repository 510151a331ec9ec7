//go:build linux

package container

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/internal/sandbox"
	"github.com/strata-ci/strata/runner"
)

const (
	// pipeSize is asked of the kernel for each pipe, so that a talkative command
	// is stopped less often: fcntl(2), F_SETPIPE_SZ. 1 MiB is the default of
	// fs.pipe-max-size, the most that an ordinary user gets.
	pipeSize = 1 << 20
	// drainTime is how long output may still arrive after all of the step's
	// processes are gone. Only a process outside the sandbox that was handed a
	// pipe's end could hold it open longer.
	drainTime = 5 * time.Second
)

// output copies a command's streams to the step's writers.
type output struct {
	readers, writers []*os.File
	copying          sync.WaitGroup
	failed           chan struct{} // closed at the first error of a writer
	once             sync.Once
	errs             []error
}

// openOutput starts copying. One writer for both streams means one pipe, which
// keeps the order of what is written to either.
func openOutput(sc *runner.StepContext) (*output, error) {
	o := &output{failed: make(chan struct{})}
	targets := []io.Writer{sc.Stdout}
	if !sc.OneWriter() {
		targets = append(targets, sc.Stderr)
	}
	for range targets {
		r, w, err := os.Pipe()
		if err != nil {
			o.close()
			return nil, err
		}
		// A smaller pipe only costs time.
		_, _ = unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, pipeSize)
		o.readers = append(o.readers, r)
		o.writers = append(o.writers, w)
	}
	o.errs = make([]error, len(targets))
	for i, target := range targets {
		o.copying.Go(func() { o.errs[i] = o.copy(target, o.readers[i]) })
	}
	return o, nil
}

// ends returns the descriptors for the command.
func (o *output) ends() sandbox.Output {
	return sandbox.Output{Out: o.writers[0], Err: o.writers[len(o.writers)-1]}
}

// wait returns after everything that the command wrote is with the writers.
func (o *output) wait() error {
	for _, w := range o.writers {
		_ = w.Close() // nothing was written through it here
	}
	deadline := time.Now().Add(drainTime)
	for _, r := range o.readers {
		_ = r.SetReadDeadline(deadline) // pipes support it
	}
	o.copying.Wait()
	o.close()
	return errors.Join(o.errs...)
}

func (o *output) close() {
	for _, f := range append(o.readers, o.writers...) {
		_ = f.Close() // pipes have nothing to lose on close
	}
}

// copy goes on reading after the writer has failed, so that the command is not
// stopped by a full pipe before it is ended.
func (o *output) copy(w io.Writer, r io.Reader) error {
	buf := make([]byte, 256<<10)
	var failure error
	for {
		n, err := r.Read(buf)
		if n > 0 && failure == nil {
			if _, failure = w.Write(buf[:n]); failure != nil {
				o.once.Do(func() { close(o.failed) })
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, os.ErrDeadlineExceeded):
			return failure
		case err != nil:
			return errors.Join(failure, err)
		}
	}
}
