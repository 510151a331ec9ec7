package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// ErrNewerVersion says that a journal was written by a newer Strata.
var ErrNewerVersion = errors.New("written by a newer version of Strata")

const (
	readSize = 64 << 10 // first size of the buffer for lines
	keepSize = 1 << 20  // a buffer that grew beyond this is given back
)

// lines reads the whole lines of a file that may still grow.
type lines struct {
	file   *os.File
	offset int64 // of the line that comes next
	number int   // of the line that came last, from 1
	buf    []byte
	start  int // buf[start:] is what follows offset
}

// next returns the next line without its end, valid until the next call. At
// the end of the file, or of its last whole line, it returns io.EOF; a later
// call may find more. A part of a line is read anew then, because whoever
// repairs the journal may have replaced it.
func (l *lines) next() ([]byte, error) {
	if i := bytes.IndexByte(l.buf[l.start:], '\n'); i >= 0 {
		return l.take(i), nil
	}
	l.buf, l.start = l.buf[:0], 0
	for scanned := 0; scanned < maxLine; scanned = len(l.buf) {
		if err := l.fill(); err != nil {
			return nil, err
		}
		if i := bytes.IndexByte(l.buf[scanned:], '\n'); i >= 0 {
			return l.take(scanned + i), nil
		}
	}
	return nil, fmt.Errorf("%s:%d: the line is longer than %d bytes", l.file.Name(), l.number+1, maxLine)
}

// take returns the line of n bytes that is next in the buffer.
func (l *lines) take(n int) []byte {
	line := l.buf[l.start : l.start+n]
	l.start += n + 1
	l.offset += int64(n) + 1
	l.number++
	return line
}

// fill reads more of the file behind what is in the buffer, or returns io.EOF.
func (l *lines) fill() error {
	switch {
	case len(l.buf) == 0 && (cap(l.buf) == 0 || cap(l.buf) > keepSize):
		l.buf = make([]byte, 0, readSize)
	case len(l.buf) == cap(l.buf):
		l.buf = append(make([]byte, 0, 2*cap(l.buf)), l.buf...)
	}
	n, err := l.file.ReadAt(l.buf[len(l.buf):cap(l.buf)], l.offset+int64(len(l.buf)))
	l.buf = l.buf[:len(l.buf)+n]
	switch {
	case n > 0:
		return nil
	case errors.Is(err, io.EOF):
		return io.EOF
	}
	return fmt.Errorf("read the journal: %w", err)
}

// eventReader reads the events of a journal and checks that they are a whole:
// versions, and numbers without gaps.
type eventReader struct {
	lines
	seq uint64
}

// next returns the next event, or io.EOF where there is none yet.
func (r *eventReader) next() (Event, error) {
	line, err := r.lines.next()
	if err != nil {
		return Event{}, err
	}
	var e Event
	if err := json.Unmarshal(line, &e); err != nil {
		return Event{}, r.fault(fmt.Errorf("not an event: %w", err))
	}
	if r.seq == 0 {
		if err := checkFirst(e); err != nil {
			return Event{}, r.fault(err)
		}
	}
	if e.Seq != r.seq+1 {
		return Event{}, r.fault(fmt.Errorf("event %d is where event %d should be", e.Seq, r.seq+1))
	}
	r.seq = e.Seq
	return e, nil
}

// fault gives err the place of the line that was read last.
func (r *eventReader) fault(err error) error {
	return fmt.Errorf("%s:%d: %w", r.file.Name(), r.number, err)
}

func checkFirst(e Event) error {
	switch {
	case e.Type != RunStarted:
		return fmt.Errorf("the journal starts with %.40q, not with a run_started", e.Type)
	case e.Version > SchemaVersion:
		return fmt.Errorf("the journal has version %d, and this Strata reads up to %d: %w", e.Version, SchemaVersion, ErrNewerVersion)
	case e.Version < 1:
		return fmt.Errorf("the journal has the version %d, which does not exist", e.Version)
	}
	return nil
}
