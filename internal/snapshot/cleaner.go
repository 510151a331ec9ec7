//go:build linux

package snapshot

import (
	"errors"

	"github.com/strata-ci/strata/internal/filetree"
)

// cleanerQueue bounds how far removing may fall behind. A full queue makes
// those wait who leave directories behind, so that these cannot pile up.
const cleanerQueue = 64

// cleaner removes directories that nobody uses any more, one after another, so
// that no step waits for it.
type cleaner struct {
	work chan chore
	done chan struct{}
	errs []error // the cleaner's own, handed over by wait

	failed bool // something could not be removed; of use after close
}

// chore is a directory to remove, or where to report.
type chore struct {
	dir    string
	report chan<- error
}

func startCleaner() *cleaner {
	c := &cleaner{work: make(chan chore, cleanerQueue), done: make(chan struct{})}
	go c.run()
	return c
}

func (c *cleaner) run() {
	defer close(c.done)
	for w := range c.work {
		if w.report != nil {
			w.report <- errors.Join(c.errs...)
			c.errs = nil
			continue
		}
		if err := filetree.Remove(w.dir); err != nil {
			c.errs = append(c.errs, err)
			c.failed = true
		}
	}
}

// remove has a directory removed, which nobody else uses or makes again.
func (c *cleaner) remove(dir string) { c.work <- chore{dir: dir} }

// wait returns after everything is removed that was to be before, with what
// went wrong since the last time.
func (c *cleaner) wait() error {
	report := make(chan error, 1)
	c.work <- chore{report: report}
	return <-report
}

// close waits and ends the cleaner.
func (c *cleaner) close() error {
	err := c.wait()
	close(c.work)
	<-c.done
	return err
}
