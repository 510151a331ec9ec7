package pipeline

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/strata-ci/strata/internal/suggest"
)

// Bounds of what a step may ask for.
const (
	MinCPUs   = 0.01    // what a CPU controller can still tell from none
	MaxCPUs   = 4096    // more than any machine has
	MinMemory = 1 << 20 // less than a shell needs
	MaxMemory = 1 << 50 // more than any machine has

	// MaxRetries bounds each of a step's retries: what fails eleven times in a row
	// is not a matter of luck.
	MaxRetries = 10

	maxLabel = 200        // characters of a label
	maxEnv   = 128 << 10  // bytes of NAME=VALUE, Linux's MAX_ARG_STRLEN
	maxHints = 200 * 1000 // names to compare for "did you mean", in all
)

// RunnerSet is what validation knows of the runners that exist. The zero
// value knows none and checks nothing about runners.
type RunnerSet struct {
	// Names of all runners, and which of them runs a step that names none.
	Names   []string
	Default string
	// Formats holds each runner's snapshot format. Two runners share snapshots
	// when they are the same or have the same non-empty format.
	Formats map[string]string
	// CheckStep, where not nil, tells what an existing runner has against a step:
	// its image, runner_args, network or resources.
	CheckStep func(runner string, step Step) error
}

// sharesSnapshots reports whether a step on child can start from a snapshot of parent.
func (k RunnerSet) sharesSnapshots(parent, child string) bool {
	return parent == child || k.Formats[parent] != "" && k.Formats[parent] == k.Formats[child]
}

// Validate checks the whole pipeline. Its error is [Faults] with all that is
// wrong, in the order of the steps. It takes time linear in the size of p.
func Validate(p *Pipeline, known RunnerSet) error {
	v := &validator{p: p, known: known, index: make(map[string]int, len(p.Steps)), hints: maxHints}
	for i, s := range p.Steps {
		if _, taken := v.index[s.Name]; !taken {
			v.index[s.Name] = i
		}
		v.names = append(v.names, s.Name)
	}
	v.pipeline()
	for i := range p.Steps {
		v.step(i)
	}
	v.cycles()
	if len(v.faults) == 0 {
		return nil
	}
	slices.SortStableFunc(v.faults, func(a, b placedFault) int { return cmp.Compare(a.step, b.step) })
	faults := make(Faults, len(v.faults))
	for i, f := range v.faults {
		faults[i] = f.Fault
	}
	return faults
}

type placedFault struct {
	step int // -1 for the pipeline
	Fault
}

type validator struct {
	p      *Pipeline
	known  RunnerSet
	index  map[string]int // the first step of each name
	names  []string       // of the steps
	hints  int            // comparisons left
	faults []placedFault
}

// fault adds a fault of a step's field, or of the pipeline's for step -1.
func (v *validator) fault(step int, field, format string, args ...any) {
	f := placedFault{step: step, Fault: Fault{Path: field, Pos: v.p.Pos, Message: fmt.Sprintf(format, args...)}}
	if step >= 0 {
		s := &v.p.Steps[step]
		f.Path, f.Step, f.Pos = "steps["+strconv.Itoa(step)+"]", s.Name, s.Pos
		if field != "" {
			f.Path += "." + field
		}
	}
	v.faults = append(v.faults, f)
}

// hint suggests one of the names; a pipeline with thousands of mistakes gets
// suggestions only for the first of them.
func (v *validator) hint(word string, names []string) string {
	if v.hints -= len(names); v.hints < 0 {
		return ""
	}
	return suggest.Hint(word, names)
}

const nameRule = "use 1 to 64 letters, digits, '.', '_' and '-', beginning with a letter or digit"

func (v *validator) pipeline() {
	p := v.p
	switch {
	case p.Name == "":
		v.fault(-1, "name", "the pipeline has no name: %s", nameRule)
	case !ValidName(p.Name):
		v.fault(-1, "name", "the pipeline's name %s is malformed: %s", quote(p.Name), nameRule)
	}
	if p.Version != Version {
		v.fault(-1, "version", "unknown version %d: only version %d exists", p.Version, Version)
	}
	if len(p.Steps) == 0 {
		v.fault(-1, "steps", "the pipeline has no steps: give it at least one")
	}
	v.env(-1, p.Env)
	v.timeout(-1, p.Timeout)
}

func (v *validator) step(i int) {
	s := &v.p.Steps[i]
	v.name(i, s)
	v.command(i, s.Command)
	if fault := badLabel(s.Label); fault != "" {
		v.fault(i, "label", "the label %s", fault)
	}
	if fault := badPath(s.Dir); s.Dir != "" && fault != "" {
		v.fault(i, "dir", "the directory %s %s", quote(s.Dir), fault)
	}
	v.env(i, s.Env)
	v.image(i, s)
	v.runner(i, s)
	v.timeout(i, s.Timeout)
	v.retries(i, "retry", s.Retry)
	v.retries(i, "retry_failed", s.RetryFailed)
	if s.Cache != nil {
		v.cache(i, "cache", s.Cache, false)
	}
	v.globs(i, "inputs", s.Inputs)
	v.references(i, s)
	if s.Network != "" && s.Network != NetworkHost && s.Network != NetworkNone {
		v.fault(i, "network", "unknown network %s: use %q or %q", quote(s.Network), NetworkHost, NetworkNone)
	}
	if s.Resources != nil {
		v.resources(i, s.Resources)
	}
}

func (v *validator) name(i int, s *Step) {
	first := v.index[s.Name]
	switch {
	case s.Name == "":
		v.fault(i, "name", "the step has no name: %s", nameRule)
	case !ValidName(s.Name):
		v.fault(i, "name", "the name is malformed: %s", nameRule)
	case first != i:
		place := v.p.Steps[first].Pos.String()
		if place == "" {
			place = "steps[" + strconv.Itoa(first) + "]"
		}
		v.fault(i, "name", "the name is taken by the step at %s: give one of them another name", place)
	}
}

func (v *validator) command(i int, c Command) {
	switch {
	case len(c.Args) > 0 && c.Shell != "":
		v.fault(i, "command", "the command is both a string and a list: use one of them")
	case len(c.Args) > 0 && strings.TrimSpace(c.Args[0]) == "":
		v.fault(i, "command", "the first word of the command is empty: it must name a program")
	case len(c.Args) == 0 && strings.TrimSpace(c.Shell) == "":
		v.fault(i, "command", "the command is empty: say what the step is to run")
	}
	for _, word := range append([]string{c.Shell}, c.Args...) {
		if fault := badText(word); fault != "" {
			v.fault(i, "command", "the command %s", fault)
			return
		}
	}
}

func (v *validator) env(i int, env map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if err := CheckEnv(name, env[name]); err != nil {
			v.fault(i, "env", "%v", err)
		}
	}
}

// CheckEnv returns an error if no step can be given the environment variable.
func CheckEnv(name, value string) error {
	switch fault := badText(value); {
	case !validEnvName(name):
		return fmt.Errorf("the environment variable %s has a malformed name: it must have at least one character and no '=', space or control character", quote(name))
	case fault != "":
		return fmt.Errorf("the value of the environment variable %s %s", name, fault)
	case len(name)+len(value)+2 > maxEnv:
		return fmt.Errorf("the environment variable %s is longer than %s, the most that a process can be given: pass a file", name, Bytes(maxEnv))
	}
	return nil
}

func validEnvName(name string) bool {
	return name != "" && utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool {
		return r == '=' || unicode.IsSpace(r) || unicode.IsControl(r)
	})
}

func (v *validator) image(i int, s *Step) {
	if s.Image == "" {
		return
	}
	if s.BuildsIn != "" {
		v.fault(i, "image", "the step builds in %s and cannot have an image too: it starts from that step's files; leave out one of them", quote(s.BuildsIn))
	}
	if badText(s.Image) != "" || strings.ContainsFunc(s.Image, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		v.fault(i, "image", "the image %s is malformed: use %q or an image reference without spaces", quote(s.Image), ImageHost)
	}
}

// runnerOf names the runner of a step.
func (v *validator) runnerOf(s *Step) string {
	if s.Runner == "" {
		return v.known.Default
	}
	return s.Runner
}

func (v *validator) runner(i int, s *Step) {
	if _, err := canonicalJSON(s.RunnerArgs); err != nil {
		v.fault(i, "runner_args", "runner_args is not valid JSON: %v", err)
		return
	}
	if len(v.known.Names) == 0 {
		return
	}
	runner := v.runnerOf(s)
	if !slices.Contains(v.known.Names, runner) {
		names := slices.Sorted(slices.Values(v.known.Names))
		v.fault(i, "runner", "unknown runner %s%s: there are %s", quote(runner), v.hint(runner, names), strings.Join(names, ", "))
		return
	}
	if v.known.CheckStep != nil {
		if err := v.known.CheckStep(runner, *s); err != nil {
			v.fault(i, "runner", "the runner %q cannot run this step: %v", runner, err)
		}
	}
}

func (v *validator) timeout(i int, d Duration) {
	if d < 0 {
		v.fault(i, "timeout", "the time limit %s is negative: it must be longer than zero; leave it out for no limit", d)
	}
}

func (v *validator) retries(i int, field string, n int) {
	if n < 0 || n > MaxRetries {
		v.fault(i, field, "%d retries are out of range: use 0 to %d", n, MaxRetries)
	}
}

// cache checks one policy. Policies within a combination cannot combine again.
func (v *validator) cache(i int, field string, c *CachePolicy, inner bool) {
	if c.Kind != CacheTTL && c.TTL != 0 {
		v.fault(i, field+".ttl", "the cache policy %q takes no ttl: leave it out, or use the policy %q", c.Kind, CacheTTL)
	}
	if c.Kind != CacheOnChange && len(c.Paths) > 0 {
		v.fault(i, field+".paths", "the cache policy %q takes no paths: leave them out, or use the policy %q", c.Kind, CacheOnChange)
	}
	if c.Kind != CacheAll && len(c.All) > 0 {
		v.fault(i, field+".all", "the cache policy %q takes no other policies: leave them out, or use the policy %q", c.Kind, CacheAll)
	}
	switch c.Kind {
	case CacheNone, CacheForever:
	case CacheTTL:
		if c.TTL <= 0 {
			v.fault(i, field+".ttl", "the cache policy %q needs a ttl longer than zero, such as \"24h\"", CacheTTL)
		}
	case CacheOnChange:
		if len(c.Paths) == 0 {
			v.fault(i, field+".paths", "the cache policy %q needs at least one path", CacheOnChange)
		}
		v.globs(i, field+".paths", c.Paths)
	case CacheAll:
		v.cacheAll(i, field, c, inner)
	default:
		kinds := []string{string(CacheNone), string(CacheForever), string(CacheTTL), string(CacheOnChange), string(CacheAll)}
		v.fault(i, field+".policy", "unknown cache policy %s%s: there are %s", quote(string(c.Kind)), v.hint(string(c.Kind), kinds), strings.Join(kinds, ", "))
	}
}

func (v *validator) cacheAll(i int, field string, c *CachePolicy, inner bool) {
	if inner {
		v.fault(i, field, "the cache policy %q is inside another one: put all policies into one list", CacheAll)
		return
	}
	if len(c.All) == 0 {
		v.fault(i, field+".all", "the cache policy %q needs at least one policy", CacheAll)
	}
	for k := range c.All {
		v.cache(i, field+".all["+strconv.Itoa(k)+"]", &c.All[k], true)
	}
}

func (v *validator) globs(i int, field string, globs []string) {
	for k, glob := range globs {
		if fault := badPath(strings.TrimPrefix(glob, "/")); fault != "" { // as in .gitignore, it anchors
			v.fault(i, field+"["+strconv.Itoa(k)+"]", "the path %s %s", quote(glob), fault)
		}
	}
}

func (v *validator) references(i int, s *Step) {
	if s.BuildsIn != "" && v.reference(i, "builds_in", s.BuildsIn) {
		v.sharing(i, s)
	}
	for k, name := range s.DependsOn {
		v.reference(i, "depends_on["+strconv.Itoa(k)+"]", name)
	}
}

// reference reports whether name is another step.
func (v *validator) reference(i int, field, name string) bool {
	verb, _, _ := strings.Cut(field, "[")
	verb = map[string]string{"builds_in": "builds in", "depends_on": "depends on"}[verb]
	if _, ok := v.index[name]; !ok {
		v.fault(i, field, "it %s the step %s, which does not exist%s", verb, quote(name), v.hint(name, v.names))
		return false
	}
	if name == v.p.Steps[i].Name {
		v.fault(i, field, "it %s itself: remove that", verb)
		return false
	}
	return true
}

// sharing checks that the step can start from its parent's snapshot.
func (v *validator) sharing(i int, s *Step) {
	parent := v.runnerOf(&v.p.Steps[v.index[s.BuildsIn]])
	child := v.runnerOf(s)
	exist := slices.Contains(v.known.Names, parent) && slices.Contains(v.known.Names, child)
	if exist && !v.known.sharesSnapshots(parent, child) {
		v.fault(i, "builds_in", "it builds in %s, but the runners %q and %q do not share snapshots: run both on one of them, or use depends_on",
			quote(s.BuildsIn), parent, child)
	}
}

func (v *validator) resources(i int, r *Resources) {
	if r.CPUs != 0 && !(r.CPUs >= MinCPUs && r.CPUs <= MaxCPUs) { // false for NaN too
		v.fault(i, "resources.cpus", "%v CPUs is out of range: use %v to %v; leave it out for no limit", r.CPUs, MinCPUs, MaxCPUs)
	}
	if r.Memory != 0 && (r.Memory < MinMemory || r.Memory > MaxMemory) {
		v.fault(i, "resources.memory", "%d bytes of memory is out of range: use %s to %s; leave it out for no limit", r.Memory, Bytes(MinMemory), Bytes(MaxMemory))
	}
}

// badText says what is wrong with a text that a process is given, or "".
func badText(s string) string {
	switch {
	case strings.Contains(s, "\x00"):
		return "contains a NUL byte: remove it"
	case !utf8.ValidString(s):
		return "is not valid UTF-8"
	}
	return ""
}

func badLabel(s string) string {
	switch {
	case badText(s) != "":
		return badText(s)
	case strings.ContainsFunc(s, unicode.IsControl):
		return "must be one line without control characters"
	case utf8.RuneCountInString(s) > maxLabel:
		return fmt.Sprintf("is longer than %d characters: shorten it", maxLabel)
	}
	return ""
}

// badPath says what is wrong with a path or glob in the workspace, or "".
func badPath(s string) string {
	switch {
	case badText(s) != "":
		return badText(s)
	case s == "":
		return "is empty: name a file of the workspace"
	case path.IsAbs(s) || len(s) > 1 && s[1] == ':' && isAlnum(s[0]):
		return "is absolute: make it relative to the workspace"
	case strings.Contains(s, `\`):
		return "contains a backslash: write '/' between directories"
	case slices.Contains(strings.Split(s, "/"), ".."):
		return "contains '..': it must stay within the workspace"
	}
	return ""
}

// quote quotes a text for a message and cuts what is too long to read.
func quote(s string) string {
	const enough = 100
	if len(s) > enough {
		return strconv.Quote(strings.ToValidUTF8(s[:enough], "")) + "…"
	}
	return strconv.Quote(s)
}
