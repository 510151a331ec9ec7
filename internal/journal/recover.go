package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/strata-ci/strata/internal/fault"
)

// Recovered is a run that Recover has brought to its end.
type Recovered struct {
	RunID string
	Dir   string
	Steps []string // those that were running, in definition order
}

// Recover ends the runs whose processes died: steps that were running, and the
// run, end as Interrupted, after a torn last line is cut off. A run that died
// before its first event is removed. Runs that have ended cost nothing.
//
// A run that cannot be repaired does not keep others from it; the errors of
// all are joined. A damaged journal is reported once and then left as it is;
// a journal of a newer version (ErrNewerVersion) is left to the newer Strata.
//
// Before that each run's leavings are removed by clean. Of a run that died
// before its first event it is told the ID alone. A run for which that fails is
// left for the next time.
func Recover(runsDir string, now func() time.Time, clean func(RunState) error) ([]Recovered, error) {
	gate, err := openGate(runsDir)
	if err != nil {
		return nil, fmt.Errorf("look for interrupted runs: %w", err)
	}
	defer gate.Close()
	ids, err := markedIDs(runsDir)
	if err != nil {
		return nil, fmt.Errorf("look for interrupted runs: %w", err)
	}
	var recovered []Recovered
	var failed error
	for _, id := range ids {
		dir := filepath.Join(runsDir, id)
		r, err := recoverRun(dir, now, clean)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("recover run %s: %w", id, err))
		}
		if r != nil {
			recovered = append(recovered, *r)
		}
	}
	return recovered, failed
}

// markedIDs returns the runs that have a marker, oldest first.
func markedIDs(runsDir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(runsDir, liveName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		if checkName("run", e.Name()) == nil {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// recoverRun repairs a run that has a marker, if it needs that. The caller holds
// the gate, so that a marker without a lock stays without one.
func recoverRun(dir string, now func() time.Time, clean func(RunState) error) (*Recovered, error) {
	if live, err := alive(dir); err != nil || live {
		return nil, err
	}
	state, end, err := readAll(dir)
	switch {
	case errors.Is(err, ErrNewerVersion):
		return nil, err
	case err != nil:
		err = fmt.Errorf("%w; the run is left as it is, and may be deleted: %s", err, dir)
		return nil, errors.Join(err, os.Rename(marker(dir), filepath.Join(dir, damagedName)))
	case end.seq == 0:
		if err := clean(RunState{ID: filepath.Base(dir)}); err != nil {
			return nil, err
		}
		return nil, errors.Join(os.RemoveAll(dir), removeMarker(dir))
	}
	if err := errors.Join(fault.Point("journal: recover a run"), clean(state)); err != nil {
		return nil, err
	}
	if state.End != nil {
		return nil, removeMarker(dir)
	}
	return interrupt(dir, state, end, now)
}

// place is where the next event of a journal goes.
type place struct {
	seq  uint64 // of the last event
	size int64  // of all whole lines
}

// readAll returns the state that the journal in dir leads to, and its end.
func readAll(dir string) (RunState, place, error) {
	var state RunState
	run := &Run{dir: dir}
	reader, err := run.openEvents()
	if errors.Is(err, fs.ErrNotExist) {
		return state, place{}, nil
	}
	if err != nil {
		return state, place{}, err
	}
	defer reader.file.Close()
	for {
		e, err := reader.next()
		if errors.Is(err, io.EOF) {
			return state, place{seq: reader.seq, size: reader.offset}, nil
		}
		if err != nil {
			return state, place{}, err
		}
		state.Apply(e)
	}
}

// interrupt appends the ends that the run's own process could not write.
func interrupt(dir string, state RunState, end place, now func() time.Time) (*Recovered, error) {
	w, err := openWriter(dir, now)
	if err != nil {
		return nil, err
	}
	w.seq, w.size = end.seq, end.size
	r := &Recovered{RunID: w.id, Dir: dir}
	err = w.journal.Truncate(end.size)
	for _, step := range state.Steps {
		if err != nil || !step.Running() {
			continue
		}
		r.Steps = append(r.Steps, step.Name)
		err = w.interruptStep(step.Name)
	}
	if err == nil {
		ran := state.Last.Sub(state.Started) // as far as is known
		err = w.Append(Event{Type: RunFinished, Status: Interrupted, DurationMS: ran.Seconds() * 1000})
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	return r, nil
}

func (w *Writer) interruptStep(step string) error {
	file, err := logFile(step)
	if err != nil {
		return err
	}
	e := Event{Type: StepFinished, Step: step, Status: Interrupted}
	path := filepath.Join(w.dir, file)
	info, err := os.Stat(path)
	if err == nil {
		e.LogBytes = info.Size()
		w.syncer.add(&LogWriter{path: path, size: info.Size()})
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return w.Append(e)
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
