package render

import (
	"bytes"
	"unicode/utf8"
)

// maxLine bounds what is held of a line, in bytes. A longer one is given out in
// parts. It is more than any line that a person reads.
const maxLine = 8 << 10

// lines cuts a step's output, whose pieces are cut anywhere, into lines. A
// carriage return that no line feed follows begins the line anew, as a progress
// bar means it: of such a line only the last state is given out.
type lines struct {
	held      []byte // the line so far
	returned  bool   // a carriage return came last: more text replaces held
	continued bool   // the line's first part has been given out already
}

// write gives emit each line that data ends. continues says that a line is the
// next part of the one before. A line is valid only during the call.
func (l *lines) write(data []byte, emit func(line []byte, continues bool)) {
	for {
		end := bytes.IndexByte(data, '\n')
		if end < 0 {
			l.hold(data, emit)
			return
		}
		if line := data[:end]; len(l.held) == 0 && end <= maxLine && bytes.IndexByte(line, '\r') < 0 {
			l.end(line, emit)
		} else {
			l.hold(line, emit)
			l.end(l.held, emit)
		}
		data = data[end+1:]
	}
}

// flush gives out a last line that no line feed ended.
func (l *lines) flush(emit func(line []byte, continues bool)) {
	if len(l.held) > 0 {
		l.end(l.held, emit)
	}
}

func (l *lines) end(line []byte, emit func(line []byte, continues bool)) {
	if len(line) > 0 || !l.continued {
		emit(line, l.continued)
	}
	l.held, l.returned, l.continued = l.held[:0], false, false
}

// hold adds a part of a line, in which there is no line feed.
func (l *lines) hold(part []byte, emit func(line []byte, continues bool)) {
	text := bytes.TrimRight(part, "\r")
	if len(text) > 0 {
		last := bytes.LastIndexByte(text, '\r')
		if last >= 0 || l.returned {
			l.held = l.held[:0]
		}
		text = text[last+1:]
		l.returned = false
	}
	if len(text) < len(part) && part[len(part)-1] == '\r' {
		l.returned = true
	}
	for len(l.held)+len(text) > maxLine {
		room := maxLine - len(l.held)
		l.held = append(l.held, text[:room]...)
		text = text[room:]
		cut := characterBorder(l.held, text)
		emit(l.held[:cut], l.continued)
		l.held = append(l.held[:0], l.held[cut:]...)
		l.continued = true
	}
	l.held = append(l.held, text...)
}

// characterBorder returns where to cut text, which next follows, so that no
// valid character is cut: len(text) or up to three bytes less.
func characterBorder(text, next []byte) int {
	if len(next) == 0 || utf8.RuneStart(next[0]) {
		return len(text)
	}
	return len(text) - incomplete(text)
}

// incomplete returns how many bytes at the end of text are the beginning of a
// character that more bytes could complete: 0 to 3.
func incomplete(text []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if b := text[len(text)-n]; utf8.RuneStart(b) {
			if utf8.FullRune(text[len(text)-n:]) {
				return 0
			}
			return n
		}
	}
	return 0
}

// tail keeps the last lines of a step's output.
type tail struct {
	ring  [][]byte
	total int // lines in all
}

// add copies line. A part that continues a line counts as a line of its own.
func (t *tail) add(line []byte) {
	if len(t.ring) < tailLines {
		t.ring = append(t.ring, nil)
	}
	slot := &t.ring[t.total%tailLines]
	*slot = append((*slot)[:0], line...)
	t.total++
}

// last returns the last lines, at most n, oldest first. They are valid until
// the next add.
func (t *tail) last(n int) [][]byte {
	n = min(n, len(t.ring))
	out := make([][]byte, 0, n)
	for i := t.total - n; i < t.total; i++ {
		out = append(out, t.ring[i%tailLines])
	}
	return out
}
