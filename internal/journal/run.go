package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Run is a run that can be read, live or later.
type Run struct {
	dir  string
	bell *bell // of the writer, where it is in this process
}

// Open returns the run in the directory RUNSDIR/RUNID.
func Open(runDir string) (*Run, error) {
	info, err := os.Stat(filepath.Join(runDir, journalName))
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file", filepath.Join(runDir, journalName))
	}
	if err != nil {
		return nil, fmt.Errorf("open run %s: %w", filepath.Base(runDir), err)
	}
	return &Run{dir: filepath.Clean(runDir)}, nil
}

// ID returns the run's ID.
func (r *Run) ID() string { return filepath.Base(r.dir) }

// Dir returns the run's directory.
func (r *Run) Dir() string { return r.dir }

// Alive reports whether the process that writes the run still lives and has
// not closed it.
func (r *Run) Alive() (bool, error) {
	if r.bell != nil {
		return !r.bell.isSilent(), nil
	}
	return alive(r.dir)
}

// over reports whether the run has ended and was put in order, so that its
// journal has to be whole.
func (r *Run) over() bool {
	if r.bell != nil {
		return false
	}
	marked, err := exists(marker(r.dir))
	return err == nil && !marked
}

// cut is the error of a run that is over and whose journal does not end it.
func (r *Run) cut() error {
	return fmt.Errorf("%s is damaged: it ends before its run does, and the rest is lost", filepath.Join(r.dir, journalName))
}

// Events returns all events so far. A torn last line, which a crash may leave,
// is no event. An error names the file and the line; the events before it are
// returned with it.
func (r *Run) Events() ([]Event, error) {
	over := r.over() // before the events are read, whose last one comes before it
	reader, err := r.openEvents()
	if err != nil {
		return nil, err
	}
	defer reader.file.Close()
	var events []Event
	for {
		e, err := reader.next()
		if errors.Is(err, io.EOF) && over && (len(events) == 0 || events[len(events)-1].Type != RunFinished) {
			return events, r.cut()
		}
		if errors.Is(err, io.EOF) {
			return events, nil
		}
		if err != nil {
			return events, err
		}
		events = append(events, e)
	}
}

func (r *Run) openEvents() (*eventReader, error) {
	f, err := os.Open(filepath.Join(r.dir, journalName))
	if err != nil {
		return nil, fmt.Errorf("open run %s: %w", r.ID(), err)
	}
	return &eventReader{lines: lines{file: f}}, nil
}

// Log is what can be read of a step's log.
type Log interface {
	io.ReadSeekCloser
	io.ReaderAt
}

// OpenLog returns the log of a step as far as it is written; it is empty for a
// step without output or that never started.
func (r *Run) OpenLog(step string) (Log, error) {
	f, err := r.openLog(step)
	if errors.Is(err, fs.ErrNotExist) {
		return emptyLog{bytes.NewReader(nil)}, nil
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// openLog opens a step's log, and nothing outside of the run's directory,
// whatever a journal or a link in the directory says.
func (r *Run) openLog(step string) (*os.File, error) {
	name, err := logFile(step)
	if err != nil {
		return nil, fmt.Errorf("open a log of run %s: %w", r.ID(), err)
	}
	f, err := os.OpenInRoot(r.dir, name)
	if err != nil {
		return nil, fmt.Errorf("open the log of step %s: %w", step, err)
	}
	return f, nil
}

type emptyLog struct{ *bytes.Reader }

func (emptyLog) Close() error { return nil }
