package workspace

import (
	"math/bits"
	"strings"
)

// glob is one compiled pattern of an ignore file, with the meaning that git's
// own matcher gives it: bytes, not characters; '?', '*' and classes never match
// a slash; "**" between slashes or ends matches any number of directories.
//
// Matching simulates an automaton, so its time is at most the product of both
// lengths whatever the pattern: no input makes it backtrack.
type glob struct {
	literal string // what a match starts with
	suffix  string // for globSuffix: what it ends with
	tokens  []token
	name    *glob // for globBelow: of the last name
	kind    globKind
}

type globKind uint8

const (
	globTokens  globKind = iota // literal, then tokens
	globExact                   // literal and nothing else
	globSuffix                  // anything, then suffix; for names
	globBelow                   // literal, any number of directories, then name; for paths
	globNothing                 // malformed: matches nothing, as in git
)

type token struct {
	op    tokenOp
	char  byte
	class *class
}

type tokenOp uint8

const (
	opChar  tokenOp = iota // one given byte
	opAny                  // one byte other than a slash
	opClass                // one byte of a class
	// From here on: any number of bytes.
	opStar  // any bytes without a slash
	opStars // any bytes
	opMaybe // the next two, opStars and a slash, or neither
)

// class is a set of bytes.
type class [4]uint64

func (c *class) add(b byte)      { c[b>>6] |= 1 << (b & 63) }
func (c *class) has(b byte) bool { return c[b>>6]&(1<<(b&63)) != 0 }
func (c *class) addRange(lo, hi byte) {
	for b := int(lo); b <= int(hi); b++ {
		c.add(byte(b))
	}
}

// compileGlob compiles a pattern without its leading '!' and '/' and without
// its trailing '/'. With basename, it is only matched against single names.
func compileGlob(pattern string, basename bool) glob {
	n := strings.IndexAny(pattern, `*?[\`)
	if n < 0 {
		return glob{kind: globExact, literal: pattern}
	}
	if basename && pattern[0] == '*' && !strings.ContainsAny(pattern[1:], `*?[\`) {
		return glob{kind: globSuffix, suffix: pattern[1:]}
	}
	// Most paths that people write are like "src/**/*.go". Their last name alone
	// is matched, which is many times faster than the automaton on whole paths.
	if last, ok := strings.CutPrefix(pattern[n:], "**/"); ok && !basename && (n == 0 || pattern[n-1] == '/') && last != "" && !strings.Contains(last, "/") {
		name := compileGlob(last, true)
		if name.kind == globNothing {
			return name
		}
		return glob{kind: globBelow, literal: pattern[:n], name: &name}
	}
	// As in git, "**" right after the literal part counts as if it were after
	// a slash: "a**/b" matches "ab" and "ax/y/b".
	tokens, ok := parseTokens(pattern[n:])
	if !ok {
		return glob{kind: globNothing}
	}
	return glob{kind: globTokens, literal: pattern[:n], tokens: tokens}
}

func parseTokens(p string) (tokens []token, ok bool) {
	for i := 0; i < len(p); {
		switch p[i] {
		case '?':
			tokens = append(tokens, token{op: opAny})
			i++
		case '*':
			end := i
			for end < len(p) && p[end] == '*' {
				end++
			}
			if op := starOp(p, i, end); op == opMaybe {
				tokens = append(tokens, token{op: opMaybe}, token{op: opStars})
			} else {
				tokens = append(tokens, token{op: op})
			}
			i = end
		case '[':
			c, n, ok := parseClass(p[i:])
			if !ok {
				return nil, false
			}
			tokens = append(tokens, token{op: opClass, class: c})
			i += n
		case '\\':
			if i+1 == len(p) {
				return nil, false
			}
			tokens = append(tokens, token{op: opChar, char: p[i+1]})
			i += 2
		default:
			tokens = append(tokens, token{op: opChar, char: p[i]})
			i++
		}
	}
	return tokens, true
}

// starOp says what the asterisks p[start:end] mean.
func starOp(p string, start, end int) tokenOp {
	rest := p[end:]
	switch {
	case end-start < 2, start > 0 && p[start-1] != '/':
		return opStar
	case rest == "", strings.HasPrefix(rest, `\/`):
		return opStars
	case rest[0] == '/':
		return opMaybe
	default:
		return opStar
	}
}

// parseClass parses the bracket expression at the start of p and returns its
// length. It is not ok if the bracket never closes or names an unknown class.
func parseClass(p string) (c *class, n int, ok bool) {
	c = new(class)
	i := 1
	negated := i < len(p) && (p[i] == '!' || p[i] == '^')
	if negated {
		i++
	}
	var prev byte // 0 where a range cannot start
	for first := true; ; first = false {
		if i >= len(p) {
			return nil, 0, false
		}
		switch {
		case p[i] == ']' && !first:
			if negated {
				for w := range c {
					c[w] = ^c[w]
				}
			}
			return c, i + 1, true
		case p[i] == '\\':
			if i+1 >= len(p) {
				return nil, 0, false
			}
			prev = p[i+1]
			c.add(prev)
			i += 2
		case p[i] == '-' && prev != 0 && i+1 < len(p) && p[i+1] != ']':
			i++
			if p[i] == '\\' {
				i++
			}
			if i >= len(p) {
				return nil, 0, false
			}
			c.addRange(prev, p[i])
			prev = 0
			i++
		case strings.HasPrefix(p[i:], "[:"):
			end := strings.IndexByte(p[i+2:], ']')
			if end < 0 {
				return nil, 0, false
			}
			name, closed := strings.CutSuffix(p[i+2:i+2+end], ":")
			if !closed {
				prev = '['
				c.add(prev)
				i++
				continue
			}
			if !c.addNamed(name) {
				return nil, 0, false
			}
			prev = 0
			i += 2 + end + 1
		default:
			prev = p[i]
			c.add(prev)
			i++
		}
	}
}

// addNamed adds a POSIX class with git's meaning: ASCII only.
func (c *class) addNamed(name string) bool {
	switch name {
	case "alnum":
		c.addRange('0', '9')
		c.addRange('a', 'z')
		c.addRange('A', 'Z')
	case "alpha":
		c.addRange('a', 'z')
		c.addRange('A', 'Z')
	case "blank":
		c.add(' ')
		c.add('\t')
	case "cntrl":
		c.addRange(0, 31)
		c.add(127)
	case "digit":
		c.addRange('0', '9')
	case "graph":
		c.addRange('!', '~')
	case "lower":
		c.addRange('a', 'z')
	case "print":
		c.addRange(' ', '~')
	case "punct":
		c.addRange('!', '/')
		c.addRange(':', '@')
		c.addRange('[', '`')
		c.addRange('{', '~')
	case "space":
		c.add(' ')
		c.addRange('\t', '\n')
		c.add('\r')
	case "upper":
		c.addRange('A', 'Z')
	case "xdigit":
		c.addRange('0', '9')
		c.addRange('a', 'f')
		c.addRange('A', 'F')
	default:
		return false
	}
	return true
}

// match reports whether the whole of text matches.
func (g *glob) match(text string) bool {
	switch g.kind {
	case globExact:
		return text == g.literal
	case globSuffix:
		return strings.HasSuffix(text, g.suffix)
	case globNothing:
		return false
	}
	rest, ok := strings.CutPrefix(text, g.literal)
	if ok && g.kind == globBelow {
		return g.name.match(rest[strings.LastIndexByte(rest, '/')+1:])
	}
	return ok && matchTokens(g.tokens, rest)
}

// mayEnd reports, cheaply, whether a text that ends in name can match. It
// settles most questions without the automaton, and without the whole path.
func (g *glob) mayEnd(name string) bool {
	switch g.kind {
	case globExact:
		return strings.HasSuffix(g.literal, name)
	case globBelow:
		return g.name.match(name)
	case globSuffix, globNothing:
		return true
	}
	j := len(name) - 1
	for i := len(g.tokens) - 1; i >= 0 && j >= 0; i-- {
		t := &g.tokens[i]
		if t.op >= opStar || t.char == '/' { // a slash may belong to an opMaybe
			break
		}
		if t.step(i, name[j]) < 0 {
			return false
		}
		j--
	}
	return true
}

// states is a set of positions in a token list.
type states []uint64

func (s states) has(i int) bool { return s[i>>6]&(1<<(i&63)) != 0 }

// add adds position i and all that can be reached from it without a byte.
func (s states) add(tokens []token, i int) {
	for !s.has(i) {
		s[i>>6] |= 1 << (i & 63)
		if i == len(tokens) {
			return
		}
		switch tokens[i].op {
		case opMaybe:
			s.add(tokens, i+3)
			i++
		case opStar, opStars:
			i++
		}
	}
}

func matchTokens(tokens []token, text string) bool {
	var space [8]uint64 // enough for nearly every pattern, without an allocation
	words := len(tokens)/64 + 1
	cur, next := states(space[:4]), states(space[4:])
	if words > 4 {
		cur, next = make(states, words), make(states, words)
	}
	cur, next = cur[:words], next[:words]
	cur.add(tokens, 0)
	for k := range len(text) {
		clear(next)
		b, alive := text[k], false
		for w, word := range cur {
			for ; word != 0; word &= word - 1 {
				i := w<<6 + bits.TrailingZeros64(word)
				if i == len(tokens) {
					continue
				}
				if to := tokens[i].step(i, b); to >= 0 {
					next.add(tokens, to)
					alive = true
				}
			}
		}
		if !alive {
			return false
		}
		cur, next = next, cur
	}
	return cur.has(len(tokens))
}

// step returns the position after the token at position i has taken b, or -1.
func (t *token) step(i int, b byte) int {
	switch t.op {
	case opChar:
		if b == t.char {
			return i + 1
		}
	case opAny:
		if b != '/' {
			return i + 1
		}
	case opClass:
		if b != '/' && t.class.has(b) {
			return i + 1
		}
	case opStar:
		if b != '/' {
			return i
		}
	case opStars:
		return i
	}
	return -1
}
