package plan

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"sync"

	"github.com/strata-ci/strata/internal/workspace"
	"github.com/strata-ci/strata/pipeline"
)

// patternList is one list of patterns of a step, and its place in the IR.
type patternList struct {
	field    string
	patterns []string
}

// patternLists returns all lists that select inputs of a step.
func patternLists(s *pipeline.Step) []patternList {
	var lists []patternList
	if len(s.Inputs) > 0 {
		lists = append(lists, patternList{"inputs", s.Inputs})
	}
	return append(lists, policyLists("cache", s.Cache)...)
}

func policyLists(field string, c *pipeline.CachePolicy) []patternList {
	switch {
	case c == nil:
		return nil
	case c.Kind == pipeline.CacheOnChange:
		return []patternList{{field + ".paths", c.Paths}}
	}
	var lists []patternList
	for i := range c.All {
		lists = append(lists, policyLists(fmt.Sprintf("%s.all[%d]", field, i), &c.All[i])...)
	}
	return lists
}

// selector selects inputs; for equal lists of patterns, once.
type selector struct {
	files Files
	known map[string]*selection
	asked []*selection // not made yet
	names *names       // of the workspace, for suggestions
	hints int          // suggestions looked for
}

// selection are the inputs that some lists of patterns select.
type selection struct {
	digest   Digest
	patterns []string // all of them
	compiled *workspace.Patterns
	missing  []workspace.Unmatched
	err      error // of the patterns themselves
}

// choose returns the selection by some lists, which selectAll makes.
func (s *selector) choose(lists []patternList) *selection {
	var id strings.Builder
	all := make([][]string, len(lists))
	chosen := &selection{}
	for i, l := range lists {
		all[i] = l.patterns
		chosen.patterns = append(chosen.patterns, l.patterns...)
		fmt.Fprintf(&id, "%q", l.patterns)
	}
	if known := s.known[id.String()]; known != nil {
		return known
	}
	s.known[id.String()] = chosen
	if chosen.compiled, chosen.err = workspace.CompilePatterns(all...); chosen.err == nil {
		s.asked = append(s.asked, chosen)
	}
	return chosen
}

// selectAll makes the selections that were asked for, on all processors: each
// looks at all files that its patterns can match.
func (s *selector) selectAll() {
	var workers sync.WaitGroup
	places := make(chan struct{}, runtime.GOMAXPROCS(0))
	for _, chosen := range s.asked {
		places <- struct{}{}
		workers.Go(func() {
			defer func() { <-places }()
			var sum inputSum
			chosen.missing = s.files.Select(chosen.compiled, sum.add)
			chosen.digest = sum.digest()
		})
	}
	workers.Wait()
	s.asked = nil
}

// list returns the inputs themselves.
func (s *selector) list(chosen *selection) []Input {
	var list []Input
	s.files.Select(chosen.compiled, func(e workspace.Entry) { list = append(list, input(e)) })
	return list
}

// faults returns what is wrong with the patterns of a step, which is that with
// the given index in its pipeline.
func (s *selector) faults(index int, step *pipeline.Step, lists []patternList, chosen *selection) (faults pipeline.Faults) {
	fault := func(field, message string) {
		faults = append(faults, pipeline.Fault{
			Path: fmt.Sprintf("steps[%d].%s", index, field), Step: step.Name, Pos: step.Pos, Message: message,
		})
	}
	if chosen.err != nil {
		fault(lists[0].field, chosen.err.Error())
	}
	for _, m := range chosen.missing {
		list := lists[m.List]
		pattern := list.patterns[m.Pattern]
		fault(fmt.Sprintf("%s[%d]", list.field, m.Pattern), noMatch(pattern, s.hint(pattern)))
	}
	return faults
}

// maxHints bounds for how many patterns a suggestion is looked for: each costs
// a comparison with all names of the workspace, and people mend the first.
const maxHints = 20

func (s *selector) hint(pattern string) string {
	if s.hints++; s.hints > maxHints {
		return ""
	}
	if s.names == nil {
		s.names = namesOf(s.files)
	}
	return s.names.nearest(pattern)
}

// The types in an input's mode, as POSIX has them.
const (
	typeDir     = 0o040000
	typeRegular = 0o100000
	typeLink    = 0o120000
	typeMask    = 0o170000
)

func input(e workspace.Entry) Input {
	in := Input{Path: e.Path, Mode: uint32(e.Mode.Perm()), Digest: e.Digest}
	if e.Mode&fs.ModeSticky != 0 {
		in.Mode |= 0o1000
	}
	switch e.Mode.Type() {
	case fs.ModeDir:
		in.Mode |= typeDir
	case fs.ModeSymlink:
		// A link's own permissions mean nothing and differ between systems.
		in.Mode, in.Digest = typeLink, sha256.Sum256([]byte(e.Target))
	default:
		in.Mode |= typeRegular
	}
	return in
}

// inputSum computes the digest of a list of inputs.
type inputSum struct{ buf []byte }

func (s *inputSum) add(e workspace.Entry) { s.buf = appendInput(s.buf, input(e)) }

func (s *inputSum) digest() Digest { return sha256.Sum256(s.buf) }

// appendInput appends the canonical form of an input: the path's length and
// the path, the mode, and the digest.
func appendInput(b []byte, in Input) []byte {
	b = binary.AppendUvarint(b, uint64(len(in.Path)))
	b = append(b, in.Path...)
	b = binary.BigEndian.AppendUint32(b, in.Mode)
	return append(b, in.Digest[:]...)
}

// DigestInputs returns the digest of a list of inputs, which is in the order
// in which the workspace lists them.
func DigestInputs(list []Input) Digest {
	var b []byte
	for _, in := range list {
		b = appendInput(b, in)
	}
	return sha256.Sum256(b)
}

// wholeDigest is the digest that stands for all files of a workspace.
func wholeDigest(files Files) (d Digest) {
	if n, err := hex.Decode(d[:], []byte(files.ID())); err == nil && n == len(d) {
		return d
	}
	return sha256.Sum256([]byte(files.ID()))
}
