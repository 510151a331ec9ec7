package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/strata-ci/strata/internal/fault"
)

// LogWriter writes the log of one step, byte for byte. It is safe for use by
// many goroutines; each Write is appended as a whole. The file is made by the
// first Write: a step without output has none.
type LogWriter struct {
	step string
	path string
	bell *bell

	mu   sync.Mutex
	file *os.File
	size int64
	err  error // why nothing more can be written

	queued bool // for syncing; kept by the syncer
}

// newLogWriter returns the log of a step whose name is checked.
func newLogWriter(w *Writer, step string) *LogWriter {
	l := &LogWriter{step: step, bell: &w.bell}
	file, err := logFile(step)
	l.path, l.err = filepath.Join(w.dir, file), err
	return l
}

// Write appends p. After a failed write nothing more is written, so that the
// log is always the true beginning of the output. After Close, or once the
// step's step_finished is in the journal, the error matches [os.ErrClosed].
func (l *LogWriter) Write(p []byte) (int, error) {
	n, err := l.write(p)
	if n > 0 {
		l.bell.ring()
	}
	if err != nil {
		return n, fmt.Errorf("write the log of step %s: %w", l.step, err)
	}
	return n, nil
}

func (l *LogWriter) write(p []byte) (n int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil || len(p) == 0 {
		return 0, l.err
	}
	if l.file == nil {
		l.file, l.err = os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
		if l.err != nil {
			return 0, l.err
		}
	}
	part, failed := fault.Cut("journal: append to a log", p)
	n, l.err = l.file.Write(part)
	l.err = errors.Join(l.err, failed)
	l.size += int64(n)
	return n, l.err
}

// Path returns where the log is: a file that exists once anything was written.
func (l *LogWriter) Path() string { return l.path }

// Size returns how many bytes have been written.
func (l *LogWriter) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}

// Close ends the log.
func (l *LogWriter) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = os.ErrClosed
	}
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	if err != nil {
		return fmt.Errorf("close the log of step %s: %w", l.step, err)
	}
	return nil
}
