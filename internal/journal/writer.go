package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/strata-ci/strata/internal/fault"
	"github.com/strata-ci/strata/internal/filelock"
)

// maxLine bounds a line of a journal, for writers and readers. The longest
// event is a run_started, which names every step: some 200 bytes for each, so
// that this is room for far more than 100,000 steps.
const maxLine = 64 << 20

// Writer writes the journal of one run and the logs of its steps. It is safe
// for use by many goroutines.
//
// An event or a piece of output survives the death of the process once Append
// or Write has returned. It reaches the disk when a step or the run ends: a
// goroutine of the writer syncs what ended, at most once a second and off the
// path of the steps, and after the run's end at once; Close syncs the rest and
// waits for it.
type Writer struct {
	dir, id string
	now     func() time.Time
	marker  *os.File // locked for as long as it is open
	journal *os.File
	bell    bell
	syncer  *syncer

	mu       sync.Mutex
	size     int64 // of the journal's whole lines
	seq      uint64
	steps    map[string]*LogWriter // every step that has started
	line     bytes.Buffer
	broken   error // the journal ends in a torn line that could not be cut off
	finished bool  // run_finished is written
	left     bool  // for Recover
	closed   bool
}

// Create makes the directory RUNSDIR/RUNID with an empty journal. The run
// counts as alive until the writer is closed or its process ends. A run that
// exists already is an error that matches [fs.ErrExist].
func Create(runsDir, runID string, now func() time.Time) (*Writer, error) {
	if err := checkName("run", runID); err != nil {
		return nil, err
	}
	gate, err := openGate(runsDir)
	if err != nil {
		return nil, fmt.Errorf("create run %s: %w", runID, err)
	}
	defer gate.Close()
	dir := filepath.Join(runsDir, runID)
	taken, err := exists(dir)
	if taken {
		err = fs.ErrExist
	}
	if err != nil {
		return nil, fmt.Errorf("create run %s: %w", runID, err)
	}
	w, err := openWriter(dir, now)
	if err != nil {
		// What cannot be removed is empty and counts as no run.
		_ = errors.Join(os.RemoveAll(dir), removeMarker(dir))
		return nil, fmt.Errorf("create run %s: %w", runID, err)
	}
	return w, nil
}

// openWriter marks the run in dir as alive and opens it, making what is missing.
// The marker comes first, so that no directory is without an owner. The caller
// holds the gate.
func openWriter(dir string, now func() time.Time) (*Writer, error) {
	err := os.Mkdir(filepath.Join(filepath.Dir(dir), liveName), dirMode)
	if err != nil && !os.IsExist(err) {
		return nil, err
	}
	marker, err := filelock.Open(marker(dir), filelock.Exclusive)
	if err != nil {
		return nil, err
	}
	if err = fault.Point("journal: make a run"); err == nil {
		err = os.MkdirAll(filepath.Join(dir, logsName), dirMode)
	}
	if err != nil {
		marker.Close()
		return nil, err
	}
	journal, err := os.OpenFile(filepath.Join(dir, journalName), os.O_WRONLY|os.O_CREATE, fileMode)
	if err != nil {
		marker.Close()
		return nil, err
	}
	w := &Writer{
		dir: dir, id: filepath.Base(dir), now: now,
		marker: marker, journal: journal,
		steps: make(map[string]*LogWriter),
	}
	w.syncer = startSyncer(dir, journal)
	return w, nil
}

// RunID returns the run's ID.
func (w *Writer) RunID() string { return w.id }

// Dir returns the run's directory.
func (w *Writer) Dir() string { return w.dir }

// Run returns the run for readers in this process, which learn of news at once
// and without the help of the file system. It may be used after Close.
func (w *Writer) Run() *Run { return &Run{dir: w.dir, bell: &w.bell} }

// Append writes e to the journal before it returns. It sets Seq, Time, RunID,
// the Version of a run_started and the LogBytes of a step_finished, which also
// closes the step's log. The first event is the run_started; after the
// run_finished there is none. An event that could not be written has not
// happened: it may be appended again.
func (w *Writer) Append(e Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.refusal(e); err != nil {
		return fmt.Errorf("append %s to the journal of run %s: %w", e.Type, w.id, err)
	}
	switch log := w.steps[e.Step]; {
	case e.Type == RunStarted:
		e.Version = SchemaVersion
	case e.Type == StepFinished && log != nil:
		if err := log.Close(); err != nil {
			return err
		}
		e.LogBytes = log.Size()
	}
	e.Seq, e.Time, e.RunID = w.seq+1, w.now().UTC(), w.id
	if err := w.write(e); err != nil {
		return fmt.Errorf("append %s to the journal of run %s: %w", e.Type, w.id, err)
	}
	w.appended(e)
	w.bell.ring()
	return nil
}

// appended keeps account of an event that is in the journal.
func (w *Writer) appended(e Event) {
	w.seq++
	switch e.Type {
	case StepStarted:
		w.steps[e.Step] = newLogWriter(w, e.Step)
	case StepFinished:
		if log := w.steps[e.Step]; log != nil {
			w.syncer.add(log)
		}
	case RunFinished:
		w.finished = true
		w.syncer.finish()
	}
}

// refusal says why e cannot be the next event.
func (w *Writer) refusal(e Event) error {
	switch {
	case w.closed:
		return os.ErrClosed
	case w.broken != nil:
		return fmt.Errorf("an earlier event was written in part only: %w", w.broken)
	case w.finished:
		return errors.New("the run has finished")
	case (w.seq == 0) != (e.Type == RunStarted):
		return errors.New("the first event of a run, and no other, is its run_started")
	case e.Type == StepStarted && w.steps[e.Step] != nil:
		return fmt.Errorf("step %s has started already", e.Step)
	case e.Type == StepStarted:
		return checkName("step", e.Step)
	}
	return nil
}

// write puts e into the journal as one line with one write, or not at all.
func (w *Writer) write(e Event) error {
	w.line.Reset()
	enc := json.NewEncoder(&w.line)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		return err
	}
	if w.line.Len() > maxLine {
		return fmt.Errorf("the event has %d bytes, more than the %d that a line may have", w.line.Len(), maxLine)
	}
	line, failed := fault.Cut("journal: append an event", w.line.Bytes())
	n, err := w.journal.WriteAt(line, w.size)
	if err = errors.Join(err, failed); err != nil {
		// A part may be there, also where WriteAt says that none is.
		w.broken = w.journal.Truncate(w.size)
		return err
	}
	w.size += int64(n)
	return nil
}

// Log returns the writer of a step's log. The step must have started and not
// yet finished. Every call for a step returns the same writer.
func (w *Writer) Log(step string) (*LogWriter, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	log := w.steps[step]
	if log == nil {
		return nil, fmt.Errorf("open the log of step %s: the step has not started", step)
	}
	return log, nil
}

// Leave has Close leave the run for Recover, although it has finished: what this
// process could not put in order, the next one does.
func (w *Writer) Leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left = true
}

// Close syncs the journal and all logs to disk and ends the run's being alive.
// Without a run_finished the run is left for Recover.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	var err error
	for _, log := range w.steps {
		err = errors.Join(err, log.Close())
		w.syncer.add(log)
	}
	err = errors.Join(err, w.syncer.stop(), w.journal.Close(), w.marker.Close())
	if err == nil && w.finished && !w.left {
		err = removeMarker(w.dir)
	}
	w.bell.silence()
	if err != nil {
		return fmt.Errorf("close the journal of run %s: %w", w.id, err)
	}
	return nil
}

// removeMarker says that the run in dir has ended and needs no repair. It may
// be gone already: another process that found it unlocked did the same.
func removeMarker(dir string) error {
	if err := fault.Point("journal: end a run"); err != nil {
		return err
	}
	err := os.Remove(marker(dir))
	if os.IsNotExist(err) {
		return nil
	}
	return err
}
