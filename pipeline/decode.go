package pipeline

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/strata-ci/strata/internal/suggest"
)

// Bounds of what Decode reads.
const (
	// MaxSize is the largest IR in bytes.
	MaxSize = 64 << 20
	// MaxDepth is how deep objects and lists may nest.
	MaxDepth = 64

	maxDecodeFaults = 1000
)

// Decode reads the IR as JSON, as [Schema] describes it. Each step's Pos gets
// its line and column, without a file.
//
// The error is [Faults] with all unknown, repeated and ill-typed fields, and
// their lines and columns. Decode does not look at what the values mean: see
// [Validate].
func Decode(data []byte) (*Pipeline, error) {
	if len(data) > MaxSize {
		return nil, Faults{{Message: fmt.Sprintf("the pipeline is larger than %s", Bytes(MaxSize))}}
	}
	if fault := malformed(data); fault != "" {
		return nil, Faults{{Message: fault}}
	}
	if at := tooDeep(data, MaxDepth); at >= 0 {
		pos := newPlaces(data).at(at)
		return nil, Faults{{Pos: pos, Message: fmt.Sprintf("objects and lists are nested deeper than %d", MaxDepth)}}
	}
	var raw json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, Faults{syntaxFault(data, err)}
	}
	d := &decoder{}
	p := new(Pipeline)
	root := node{raw, bytes.Index(data, raw[:1])}
	d.pipeline(root, p)
	return p, d.finish(data, p)
}

func malformed(data []byte) string {
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return "the pipeline is empty: an object with version, name and steps is wanted"
	case !utf8.Valid(data):
		return "the pipeline is not valid UTF-8"
	}
	return ""
}

func syntaxFault(data []byte, err error) Fault {
	fault := Fault{Message: "not valid JSON: " + err.Error()}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		fault.Pos = newPlaces(data).at(max(0, int(syntax.Offset)-1))
	}
	return fault
}

// decoder turns nodes into a pipeline and collects what does not fit.
type decoder struct {
	faults  []Fault
	offsets []int // of faults
	steps   []int // offsets of the steps
}

func (d *decoder) fault(at int, path, format string, args ...any) {
	if len(d.faults) < maxDecodeFaults {
		d.faults = append(d.faults, Fault{Path: path, Message: fmt.Sprintf(format, args...)})
		d.offsets = append(d.offsets, at)
	}
}

// finish turns offsets into lines and columns.
func (d *decoder) finish(data []byte, p *Pipeline) error {
	places := newPlaces(data)
	for i, at := range d.steps {
		p.Steps[i].Pos = places.at(at)
	}
	if len(d.faults) == 0 {
		p.Pos = Position{Line: 1, Col: 1}
		return nil
	}
	order := make([]int, len(d.faults))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return d.offsets[a] - d.offsets[b] })
	places = newPlaces(data)
	var faults Faults
	for _, i := range order {
		f := d.faults[i]
		f.Pos = places.at(d.offsets[i])
		faults = append(faults, f)
	}
	return faults
}

// fields says what to do with each member of an object.
type fields map[string]func(path string, n node)

// object gives each member to its field. Only the required fields must be there.
func (d *decoder) object(path string, n node, known fields, required ...string) {
	if n.data[0] != '{' {
		d.wrongType(path, n, "an object")
		return
	}
	prefix := path
	if prefix != "" {
		prefix += "."
	}
	seen := make(map[string]bool)
	for m := range n.members {
		field, ok := known[m.key]
		switch {
		case !ok:
			hint := suggest.Hint(m.key, slices.Sorted(maps.Keys(known)))
			d.fault(m.keyOff, prefix+m.key, "unknown field %q%s", m.key, hint)
		case seen[m.key]:
			d.fault(m.keyOff, prefix+m.key, "the field %q is there twice", m.key)
		default:
			field(prefix+m.key, m.value)
		}
		seen[m.key] = true
		if len(d.faults) == maxDecodeFaults {
			return
		}
	}
	for _, name := range required {
		if !seen[name] {
			d.fault(n.off, prefix+name, "the field %q is missing", name)
		}
	}
}

func (d *decoder) list(path string, n node, element func(path string, n node)) {
	if n.data[0] != '[' {
		d.wrongType(path, n, "a list")
		return
	}
	for i, e := range n.elements {
		if len(d.faults) == maxDecodeFaults {
			return
		}
		element(path+"["+strconv.Itoa(i)+"]", e)
	}
}

func (d *decoder) wrongType(path string, n node, want string) {
	d.fault(n.off, path, "%s must be %s, not %s", path, want, n.kind())
}

func (d *decoder) pipeline(n node, p *Pipeline) {
	if n.data[0] != '{' {
		d.fault(n.off, "", "a pipeline must be an object with version, name and steps, not %s", n.kind())
		return
	}
	d.object("", n, fields{
		"version": func(path string, n node) { d.version(path, n, &p.Version) },
		"name":    func(path string, n node) { d.text(path, n, &p.Name) },
		"env":     func(path string, n node) { d.env(path, n, &p.Env) },
		"timeout": func(path string, n node) { d.duration(path, n, &p.Timeout) },
		"steps": func(path string, n node) {
			d.list(path, n, func(path string, n node) {
				p.Steps = append(p.Steps, Step{})
				d.steps = append(d.steps, n.off)
				d.step(path, n, &p.Steps[len(p.Steps)-1])
			})
		},
	}, "version", "name", "steps")
}

func (d *decoder) step(path string, n node, s *Step) {
	d.object(path, n, fields{
		"name":         func(path string, n node) { d.text(path, n, &s.Name) },
		"label":        func(path string, n node) { d.text(path, n, &s.Label) },
		"command":      func(path string, n node) { d.command(path, n, &s.Command) },
		"dir":          func(path string, n node) { d.text(path, n, &s.Dir) },
		"env":          func(path string, n node) { d.env(path, n, &s.Env) },
		"image":        func(path string, n node) { d.text(path, n, &s.Image) },
		"runner":       func(path string, n node) { d.text(path, n, &s.Runner) },
		"runner_args":  func(path string, n node) { d.raw(path, n, &s.RunnerArgs) },
		"timeout":      func(path string, n node) { d.duration(path, n, &s.Timeout) },
		"retry":        func(path string, n node) { d.count(path, n, &s.Retry) },
		"retry_failed": func(path string, n node) { d.count(path, n, &s.RetryFailed) },
		"cache": func(path string, n node) {
			s.Cache = new(CachePolicy)
			d.cache(path, n, s.Cache)
		},
		"inputs":     func(path string, n node) { d.texts(path, n, &s.Inputs) },
		"builds_in":  func(path string, n node) { d.buildsIn(path, n, &s.BuildsIn) },
		"depends_on": func(path string, n node) { d.texts(path, n, &s.DependsOn) },
		"network":    func(path string, n node) { d.text(path, n, &s.Network) },
		"resources": func(path string, n node) {
			s.Resources = new(Resources)
			d.object(path, n, fields{
				"cpus":   func(path string, n node) { d.number(path, n, &s.Resources.CPUs) },
				"memory": func(path string, n node) { d.bytes(path, n, &s.Resources.Memory) },
			})
		},
	}, "name", "command")
}

func (d *decoder) version(path string, n node, to *int) {
	v, err := strconv.Atoi(string(n.data))
	switch {
	case err != nil:
		d.wrongType(path, n, "the number "+strconv.Itoa(Version))
	case v > Version:
		d.fault(n.off, path, "version %d is newer than this strata reads (%d): use a newer strata", v, Version)
	case v != Version:
		d.fault(n.off, path, "unknown version %d: this strata reads version %d", v, Version)
	}
	*to = v
}

func (d *decoder) text(path string, n node, to *string) {
	s, ok := n.text()
	if !ok {
		d.wrongType(path, n, "a string")
	}
	*to = s
}

func (d *decoder) texts(path string, n node, to *[]string) {
	d.list(path, n, func(path string, n node) {
		var s string
		d.text(path, n, &s)
		*to = append(*to, s)
	})
}

func (d *decoder) env(path string, n node, to *map[string]string) {
	if n.data[0] != '{' {
		d.wrongType(path, n, "an object of strings")
		return
	}
	env := make(map[string]string)
	for m := range n.members {
		if _, twice := env[m.key]; twice {
			d.fault(m.keyOff, path+"."+m.key, "the variable %q is there twice", m.key)
		}
		var value string
		d.text(path+"."+m.key, m.value, &value)
		env[m.key] = value
	}
	if len(env) > 0 {
		*to = env
	}
}

func (d *decoder) command(path string, n node, to *Command) {
	switch n.data[0] {
	case '"':
		d.text(path, n, &to.Shell)
	case '[':
		d.texts(path, n, &to.Args)
	default:
		d.wrongType(path, n, "a string or a list of strings")
	}
}

func (d *decoder) raw(path string, n node, to *json.RawMessage) {
	value, err := canonicalJSON(n.data)
	if err != nil {
		d.fault(n.off, path, "%s is not valid JSON: %v", path, err)
	}
	*to = value
}

// duration gives the value 0 to a fault.
func (d *decoder) duration(path string, n node, to *Duration) {
	s, ok := n.text()
	if !ok {
		d.wrongType(path, n, `a string such as "90s"`)
		return
	}
	var err error
	if *to, err = ParseDuration(s); err != nil {
		d.fault(n.off, path, "%s: %v", path, err)
	}
}

func (d *decoder) number(path string, n node, to *float64) {
	if n.kind() != "a number" {
		d.wrongType(path, n, "a number")
	} else if json.Unmarshal(n.data, to) != nil {
		d.fault(n.off, path, "%s is out of range", path)
	}
}

func (d *decoder) count(path string, n node, to *int) {
	if n.kind() != "a number" {
		d.wrongType(path, n, "a whole number")
	} else if json.Unmarshal(n.data, to) != nil {
		d.fault(n.off, path, "%s must be a whole number from 0 to %d", path, MaxRetries)
	}
}

func (d *decoder) bytes(path string, n node, to *Bytes) {
	if n.kind() != "a number" {
		d.wrongType(path, n, "a whole number of bytes")
	} else if json.Unmarshal(n.data, to) != nil {
		d.fault(n.off, path, "%s must be a whole number of bytes below 2^63", path)
	}
}

// buildsIn accepts a list of one, and says clearly what is wrong with more.
func (d *decoder) buildsIn(path string, n node, to *string) {
	if n.data[0] != '[' {
		d.text(path, n, to)
		return
	}
	var parents []string
	d.texts(path, n, &parents)
	switch len(parents) {
	case 0:
		d.fault(n.off, path, "builds_in is an empty list: name one step or leave it out")
	case 1:
		*to = parents[0]
	default:
		d.fault(n.off, path, "more than one builds_in (%s): a step starts from one file system; name the others in depends_on",
			strings.Join(quoteAll(parents[:min(len(parents), 5)]), ", "))
	}
}

func (d *decoder) cache(path string, n node, to *CachePolicy) {
	d.object(path, n, fields{
		"policy": func(path string, n node) { d.text(path, n, (*string)(&to.Kind)) },
		"ttl":    func(path string, n node) { d.duration(path, n, &to.TTL) },
		"paths":  func(path string, n node) { d.texts(path, n, &to.Paths) },
		"all": func(path string, n node) {
			d.list(path, n, func(path string, n node) {
				var policy CachePolicy
				d.cache(path, n, &policy)
				to.All = append(to.All, policy)
			})
		},
	}, "policy")
}

func quoteAll(words []string) []string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(w)
	}
	return quoted
}

// places turns ascending offsets of a text into positions.
type places struct {
	data           []byte
	off, line, col int // col counts characters from 0
}

func newPlaces(data []byte) *places { return &places{data: data, line: 1} }

// at returns the position of an offset that is not less than the one before.
func (p *places) at(offset int) Position {
	for ; p.off < offset; p.off++ {
		switch c := p.data[p.off]; {
		case c == '\n':
			p.line++
			p.col = 0
		case utf8.RuneStart(c):
			p.col++
		}
	}
	return Position{Line: p.line, Col: p.col + 1}
}
