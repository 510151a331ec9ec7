package workspace

import (
	"fmt"
	"strings"
)

// Patterns select entries of a workspace, by the rules that people know from
// .gitignore: a pattern without a slash matches a name at any depth, one with a
// slash is anchored at the root ("./a" is the "a" of the root alone), a
// trailing slash means a directory, and a directory that matches takes all
// below it. "!" takes out again: the last pattern of its list that matches an
// entry, or a directory that it lies in, decides. That is not git's rule, by
// which nothing below a matching directory can be taken out again.
//
// Several lists select what any of them does.
type Patterns struct{ lists [][]rule }

// Unmatched is a pattern that matches nothing: its place in the lists.
type Unmatched struct{ List, Pattern int }

// CompilePatterns compiles lists of patterns. A list without a pattern that
// selects is an error.
func CompilePatterns(lists ...[]string) (*Patterns, error) {
	p := &Patterns{}
	for _, list := range lists {
		rules := make([]rule, len(list))
		positive := false
		for i, pattern := range list {
			rules[i] = selectRule(pattern)
			if rules[i].glob.kind == globNothing {
				return nil, fmt.Errorf("the pattern %q is malformed", pattern)
			}
			positive = positive || !rules[i].negated
		}
		if !positive {
			return nil, fmt.Errorf("the patterns %q only take out: begin with one that selects, such as \"**\"", list)
		}
		p.lists = append(p.lists, rules)
	}
	return p, nil
}

// selectRule compiles one pattern. Unlike in a file, a space or a '#' is itself.
func selectRule(pattern string) rule {
	body, negated := strings.CutPrefix(pattern, "!")
	switch {
	case body == "." || body == "./":
		body = "**"
	case strings.HasPrefix(body, "./"):
		body = body[1:]
	}
	// At any depth is what a pattern without a slash means, and that is faster.
	if name, deep := strings.CutPrefix(body, "**/"); deep && name != "" && !strings.Contains(strings.TrimSuffix(name, "/"), "/") {
		body = name
	}
	r := parsePositive(body)
	r.negated = negated
	return r
}

// Select calls visit for each entry that p selects, a directory before what is
// in it, names in the order of their bytes. It returns the patterns, other than
// those that take out, that match nothing at all.
func (c *Capture) Select(p *Patterns, visit func(Entry)) []Unmatched { return c.root.choose(p, visit) }

func (n *node) choose(p *Patterns, visit func(Entry)) []Unmatched {
	s := &selection{lists: make([]listState, len(p.lists)), visit: visit}
	above := make([]int, len(p.lists))
	for i, rules := range p.lists {
		s.lists[i] = listState{rules: rules, seen: make([]bool, len(rules))}
		above[i] = -1
	}
	s.directory(n, "", above)
	var missing []Unmatched
	for i, l := range s.lists {
		for k, seen := range l.seen {
			if !seen && !l.rules[k].negated {
				missing = append(missing, Unmatched{i, k})
			}
		}
	}
	return missing
}

// selection is one walk through a tree.
type selection struct {
	lists []listState
	visit func(Entry)
}

type listState struct {
	rules []rule
	seen  []bool // which rules have matched something
}

// directory visits what is selected below a directory. above has, for each
// list, the last rule that matched it or a directory above it, or -1.
func (s *selection) directory(n *node, path string, above []int) {
	match := make([]int, len(above))
	for i := range n.kids {
		kid := &n.kids[i]
		t := target{dir: path, name: kid.name, isDir: kid.isDir()}
		if s.match(&t, above, match) {
			s.visit(kid.entry(t.join()))
		}
		if len(kid.kids) > 0 && s.wanted(t.join(), match) {
			s.directory(kid, t.path, match)
		}
	}
}

// match fills in match, as above but for the entry, and reports whether that
// is selected.
func (s *selection) match(t *target, above, match []int) (selected bool) {
	for k := range s.lists {
		l := &s.lists[k]
		match[k] = l.last(t, above[k])
		selected = selected || match[k] >= 0 && !l.rules[match[k]].negated
	}
	return selected
}

// last returns the last rule that matches the entry or, given as above, a
// directory that it lies in. It takes note of the rules that match for the
// first time. For what is no directory and not selected anyhow, rules that take
// out are not asked.
func (l *listState) last(t *target, above int) int {
	found := above
	for i := len(l.rules) - 1; i >= 0; i-- {
		r := &l.rules[i]
		if r.negated && (!t.isDir || i < found) || i <= found && l.seen[i] || !r.matches(t) {
			continue
		}
		l.seen[i] = true
		found = max(found, i)
	}
	if t.isDir || found < 0 || l.rules[found].negated {
		return found
	}
	for i := len(l.rules) - 1; i > found; i-- {
		if l.rules[i].negated && l.rules[i].matches(t) {
			return i
		}
	}
	return found
}

func (r *rule) matches(t *target) bool {
	switch {
	case r.dirOnly && !t.isDir:
		return false
	case r.basename:
		return r.glob.match(t.name)
	}
	return r.glob.mayStart(t.dir) && r.glob.mayEnd(t.name) && r.glob.match(t.join())
}

// wanted reports whether anything below the directory can matter.
func (s *selection) wanted(path string, match []int) bool {
	for k := range s.lists {
		l := &s.lists[k]
		if last := match[k]; last >= 0 && !l.rules[last].negated {
			return true
		}
		for i := range l.rules {
			r := &l.rules[i]
			if r.negated || i < match[k] && l.seen[i] {
				continue
			}
			if r.basename || r.glob.mayStart(path) {
				return true
			}
		}
	}
	return false
}

// mayStart reports, cheaply, whether a path in the directory dir, at any depth,
// can match; dir is empty for the root.
func (g *glob) mayStart(dir string) bool {
	n := min(len(dir), len(g.literal))
	if dir[:n] != g.literal[:n] {
		return false
	}
	if len(dir) < len(g.literal) {
		return dir == "" || g.literal[len(dir)] == '/'
	}
	return g.kind == globTokens || g.kind == globBelow
}
