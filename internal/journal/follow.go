package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
)

// outputSize is the largest piece of output that a follower yields, in bytes.
const outputSize = 128 << 10

// errStopped ends a follower whose consumer wants no more.
var errStopped = errors.New("stopped")

// DamagedLogError says that a log is shorter than its step_finished tells,
// which a power failure can leave. It does not end a sequence of items.
type DamagedLogError struct {
	Path       string
	Have, Want int64 // bytes
}

// Error says what is missing.
func (e *DamagedLogError) Error() string {
	return fmt.Sprintf("%s has %d bytes where the journal tells of %d: the end of the log is lost", e.Path, e.Have, e.Want)
}

// FollowOptions narrow what Follow yields. The zero value is all of a run.
type FollowOptions struct {
	// Step is the only step whose events and output are yielded; the sequence
	// ends with its end.
	Step string
	// EventsOnly leaves out the output.
	EventsOnly bool
	// SoFar ends the sequence after what there is already, also of a live run.
	SoFar bool
	// After is the Seq of the last event that is already known. Output of steps
	// that had finished by then is not yielded; that of steps that were running
	// is, from its beginning.
	After uint64
}

// Follow yields the events and the output of a run in order: all output of a
// step lies between its step_started and its step_finished, and is its whole
// log. While a run is live, output comes as it grows. The sequence ends after
// the run_finished, or when the process that wrote the run is dead and all is
// read.
//
// A consumer takes the time it needs: it loses nothing and holds up no step.
// The sequence ends after an error, ctx's among them, unless the error is a
// *DamagedLogError.
func (r *Run) Follow(ctx context.Context, opts FollowOptions) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		err := r.follow(ctx, opts, yield)
		if err != nil && !errors.Is(err, errStopped) {
			yield(Item{}, err)
		}
	}
}

func (r *Run) follow(ctx context.Context, opts FollowOptions, yield func(Item, error) bool) error {
	over := r.over()
	events, err := r.openEvents()
	if err != nil {
		return err
	}
	f := &follower{ctx: ctx, run: r, opts: opts, yield: yield, events: events}
	defer f.close()
	var w watch
	defer func() { w.close() }()
	for dead := opts.SoFar; !f.ended; {
		progress, err := f.pass()
		switch {
		case err != nil:
			return err
		case progress:
			continue
		case over:
			return r.cut()
		case dead:
			return nil // and this pass, which began after the death, found no more
		case w.wake == nil:
			w = r.watch() // what comes before the watch begins is for the next pass
		default:
			dead, err = r.awaitNews(ctx, w)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// awaitNews returns when there may be something new to read, or with true when
// the writer is dead.
func (r *Run) awaitNews(ctx context.Context, w watch) (dead bool, err error) {
	live, err := r.Alive()
	if err != nil || !live {
		return true, err
	}
	select {
	case <-w.wake:
	case <-w.tick:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	return false, nil
}

// follower is the state of one Follow.
type follower struct {
	ctx     context.Context
	run     *Run
	opts    FollowOptions
	yield   func(Item, error) bool
	events  *eventReader
	running []*tail // steps that have started and not finished, in that order
	buf     []byte
	ended   bool
}

// tail is the log of a running step, read up to offset.
type tail struct {
	step   string
	path   string
	file   *os.File // nil as long as there is none
	offset int64
}

func (f *follower) close() {
	f.events.file.Close()
	for _, t := range f.running {
		t.close()
	}
}

func (t *tail) close() {
	if t.file != nil {
		t.file.Close()
	}
}

// pass yields the events that are there, and then a piece of each running
// step's output.
func (f *follower) pass() (progress bool, err error) {
	for !f.ended {
		if err := f.ctx.Err(); err != nil {
			return false, err
		}
		e, err := f.events.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = f.event(e)
		}
		if err != nil {
			return false, err
		}
		progress = true
	}
	for _, t := range f.running {
		n, err := f.output(t, outputSize)
		if err != nil {
			return false, err
		}
		progress = progress || n > 0
	}
	return progress, nil
}

// event yields e, and before a step_finished the rest of the step's output.
func (f *follower) event(e Event) error {
	wanted := e.Seq > f.opts.After && (f.opts.Step == "" || f.opts.Step == e.Step)
	if e.Type == RunStarted {
		if err := f.checkStep(e); err != nil {
			return err
		}
	}
	if e.Type == StepFinished {
		if err := f.finish(e, wanted); err != nil {
			return err
		}
	}
	if wanted && !f.yield(Item{Event: &e}, nil) {
		return errStopped
	}
	switch {
	case e.Type == StepStarted:
		return f.start(e)
	case e.Type == RunFinished:
		f.ended = true
	case e.Type == StepFinished && e.Step == f.opts.Step:
		// What a cached step has left may turn out to be damaged: then it runs.
		f.ended = e.Status != Cached
	}
	return nil
}

// checkStep refuses to wait for a step that the run does not have.
func (f *follower) checkStep(started Event) error {
	if f.opts.Step == "" || slices.ContainsFunc(started.Steps, func(s Step) bool { return s.Name == f.opts.Step }) {
		return nil
	}
	return fmt.Errorf("run %s has no step %q", f.run.ID(), f.opts.Step)
}

// start begins to read the log of a step.
func (f *follower) start(e Event) error {
	if f.opts.EventsOnly || (f.opts.Step != "" && f.opts.Step != e.Step) {
		return nil
	}
	name, err := logFile(e.Step)
	if err != nil {
		return f.events.fault(err)
	}
	f.running = append(f.running, &tail{step: e.Step, path: filepath.Join(f.run.dir, name)})
	return nil
}

// finish yields the rest of a step's log and ends the reading of it.
func (f *follower) finish(e Event, wanted bool) error {
	i := slices.IndexFunc(f.running, func(t *tail) bool { return t.step == e.Step })
	if i < 0 {
		return nil
	}
	t := f.running[i]
	f.running = slices.Delete(f.running, i, i+1)
	defer t.close()
	for wanted && t.offset < e.LogBytes {
		if err := f.ctx.Err(); err != nil {
			return err
		}
		n, err := f.output(t, e.LogBytes-t.offset)
		if err != nil {
			return err
		}
		if n == 0 {
			damaged := &DamagedLogError{Path: t.path, Have: t.offset, Want: e.LogBytes}
			if !f.yield(Item{}, damaged) {
				return errStopped
			}
			break
		}
	}
	return nil
}

// output yields at most limit further bytes of a log and returns how many.
func (f *follower) output(t *tail, limit int64) (int, error) {
	if t.file == nil {
		var err error
		t.file, err = f.run.openLog(t.step)
		if errors.Is(err, fs.ErrNotExist) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
	}
	if f.buf == nil {
		f.buf = make([]byte, outputSize)
	}
	n, err := t.file.ReadAt(f.buf[:min(limit, outputSize)], t.offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read the log of step %s: %w", t.step, err)
	}
	t.offset += int64(n)
	if n > 0 && !f.yield(Item{Output: &Output{Step: t.step, Data: f.buf[:n]}}, nil) {
		return 0, errStopped
	}
	return n, nil
}
