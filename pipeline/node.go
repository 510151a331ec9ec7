package pipeline

import (
	"bytes"
	"encoding/json"
)

// node is one value of a JSON text that is known to be valid. off is where it
// begins in the whole text.
type node struct {
	data []byte
	off  int
}

// member is one key of an object with its value.
type member struct {
	key    string
	keyOff int
	value  node
}

// kind names the type of the value for people.
func (n node) kind() string {
	switch n.data[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

// text returns the value of a string.
func (n node) text() (string, bool) {
	if n.data[0] != '"' {
		return "", false
	}
	var s string
	return s, json.Unmarshal(n.data, &s) == nil
}

// elements calls yield for each element of a list until it returns false.
func (n node) elements(yield func(i int, element node) bool) {
	for i, at := 0, n.next(1); n.data[at] != ']'; i++ {
		end := n.end(at)
		if !yield(i, node{n.data[at:end], n.off + at}) {
			return
		}
		if at = n.next(end); n.data[at] == ',' {
			at = n.next(at + 1)
		}
	}
}

// members calls yield for each member of an object until it returns false.
func (n node) members(yield func(member) bool) {
	for at := n.next(1); n.data[at] != '}'; {
		keyEnd := n.end(at)
		key, _ := node{n.data[at:keyEnd], 0}.text()
		colon := n.next(keyEnd)
		start := n.next(colon + 1)
		end := n.end(start)
		if !yield(member{key, n.off + at, node{n.data[start:end], n.off + start}}) {
			return
		}
		if at = n.next(end); n.data[at] == ',' {
			at = n.next(at + 1)
		}
	}
}

// next returns the index of the first byte from at on that is not a space.
func (n node) next(at int) int {
	for at < len(n.data) && bytes.IndexByte([]byte(" \t\r\n"), n.data[at]) >= 0 {
		at++
	}
	return at
}

// end returns the index behind the value that begins at the index at.
func (n node) end(at int) int {
	depth := 0
	for i := at; i < len(n.data); i++ {
		switch n.data[i] {
		case '"':
			for i++; n.data[i] != '"'; i++ {
				if n.data[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
			if depth < 0 {
				return i // behind a number or a word that the container ends
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
		}
	}
	return len(n.data)
}

// tooDeep returns the offset of the first bracket of a JSON text that is
// nested deeper than limit, or -1. The text need not be valid.
func tooDeep(data []byte, limit int) int {
	depth, inString := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > limit {
				return i
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return -1
}
