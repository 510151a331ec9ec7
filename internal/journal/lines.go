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
	scanned := 0
	for {
		if i := bytes.IndexByte(l.buf[l.start+scanned:], '\n'); i >= 0 {
			line := l.buf[l.start : l.start+scanned+i]
			l.start += len(line) + 1
			l.offset += int64(len(line)) + 1
			l.number++
			return line, nil
		}
		scanned = len(l.buf) - l.start
		if scanned >= maxLine {
			return nil, fmt.Errorf("%s:%d: the line is longer than %d bytes", l.file.Name(), l.number+1, maxLine)
		}
		more, err := l.fill()
		if err != nil {
			return nil, err
		}
		if !more {
			l.buf, l.start = l.buf[:0], 0
			return nil, io.EOF
		}
	}
}

// fill reads more of the file behind what is in the buffer.
func (l *lines) fill() (more bool, err error) {
	rest := l.buf[l.start:]
	switch {
	case len(rest) >= cap(l.buf)/2:
		l.buf = append(make([]byte, 0, max(readSize, 2*len(rest))), rest...)
	case cap(l.buf) > keepSize && len(rest) < readSize/2:
		l.buf = append(make([]byte, 0, readSize), rest...)
	default:
		l.buf = append(l.buf[:0], rest...)
	}
	l.start = 0
	n, err := l.file.ReadAt(l.buf[len(l.buf):cap(l.buf)], l.offset+int64(len(l.buf)))
	l.buf = l.buf[:len(l.buf)+n]
	if n > 0 || errors.Is(err, io.EOF) {
		return n > 0, nil
	}
	return false, fmt.Errorf("read the journal: %w", err)
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
