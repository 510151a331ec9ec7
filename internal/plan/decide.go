package plan

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/strata-ci/strata/internal/workspace"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// Facts are what decisions are made from.
type Facts struct {
	// Project is the absolute path of the project's root. It names earlier runs
	// of the same pipeline, and is part of no key.
	Project string
	// Files is the run's view of the workspace; nil for an empty one.
	Files Files
	// Past knows the earlier runs; nil if there were none.
	Past Past
	Now  time.Time
	// NoCache makes every step run.
	NoCache bool
	// Identify tells images apart; nil asks the runner itself. The step's Env is
	// its whole environment.
	Identify func(ctx context.Context, r runner.StepRunner, step pipeline.Step) (map[string]string, error)
	// Check looks whether a runner's kept snapshot is there, so that an earlier
	// result whose files are gone is no hit; nil trusts the records. An error that
	// is not about the snapshot says that nobody knows: then the result is a hit,
	// and whoever uses it finds out.
	Check func(ctx context.Context, r runner.StepRunner, ref runner.SnapshotRef) error
}

// Files is a view of the workspace that does not change. Many goroutines may
// use it at once. Both a workspace.Capture and a workspace.View are one.
type Files interface {
	// ID is a digest of all paths, modes and contents, in hex.
	ID() string
	// Select calls visit for each entry that the patterns select, a directory
	// before what is in it, names in the order of their bytes. It returns the
	// positive patterns that match nothing.
	Select(p *workspace.Patterns, visit func(workspace.Entry)) []workspace.Unmatched
}

// Decide computes the keys of all steps, decides which of them run, and says
// what of each is to be kept. Its error is pipeline.Faults where a pattern
// matches nothing.
func (p *Plan) Decide(ctx context.Context, f Facts) error {
	if f.Files == nil {
		f.Files = workspace.Empty()
	}
	if f.Past == nil {
		f.Past = noPast{}
	}
	if f.Identify == nil {
		f.Identify = identify
	}
	order := p.parentsFirst()
	k := &keyer{
		plan: p, facts: f, inputs: selector{files: f.Files, known: map[string]*selection{}},
		images: map[imageID]map[string]string{},
	}
	chosen, err := k.selections()
	if err != nil {
		return err
	}
	needed := p.needKeys(order)
	d := &decider{
		facts: f, plan: p, earlier: map[StepID][]Earlier{}, causes: map[causeID][]Change{}, compared: map[inputsID][]Change{},
	}
	for _, i := range order {
		s := &p.Steps[i]
		s.Key, s.Material, s.Listed, s.above = Key{}, nil, nil, lineage{}
		if needed[i] {
			if err := k.key(ctx, s, chosen[i]); err != nil {
				return err
			}
		}
		if s.Decision, err = d.decide(ctx, s); err != nil {
			return fmt.Errorf("step %q: look up earlier results: %w", s.Name, err)
		}
	}
	p.keep()
	return nil
}

// parentsFirst returns the indexes of the steps, each after its parent.
func (p *Plan) parentsFirst() []int {
	order := make([]int, 0, len(p.Steps))
	done := make([]bool, len(p.Steps))
	var line []int
	for i := range p.Steps {
		for line = line[:0]; i >= 0 && !done[i]; i = p.Steps[i].Parent {
			done[i] = true
			line = append(line, i)
		}
		slices.Reverse(line)
		order = append(order, line...)
	}
	return order
}

// needKeys says which steps need a key: those with a policy, and those that
// they build in.
func (p *Plan) needKeys(order []int) []bool {
	needed := make([]bool, len(p.Steps))
	for _, i := range slices.Backward(order) {
		s := &p.Steps[i]
		needed[i] = needed[i] || policyOf(s.Step.Cache).cached
		if needed[i] && s.Parent >= 0 {
			needed[s.Parent] = true
		}
	}
	return needed
}

// keep says what is to be kept of each step: what a child may start from, also
// where that is a hit that may turn out to be damaged, and what may be used again.
func (p *Plan) keep() {
	for i := range p.Steps {
		s := &p.Steps[i]
		s.Cache = runner.CacheDecision{Action: runner.MissNoCommit}
		switch {
		case s.Decision.Hit():
			s.Cache = runner.CacheDecision{Action: runner.Hit, Ref: s.Decision.Entry.Ref}
		case !s.Key.IsZero() && policyOf(s.Step.Cache).cached:
			s.Cache.Action = runner.MissBuildAs
		}
	}
	for i := range p.Steps {
		if parent := p.Steps[i].Parent; parent >= 0 && p.Steps[parent].Cache.Action != runner.Hit {
			p.Steps[parent].Cache.Action = runner.MissBuildAs
		}
	}
}

// keyer computes materials and keys.
type keyer struct {
	plan   *Plan
	facts  Facts
	inputs selector
	images map[imageID]map[string]string
}

// selections selects the inputs of all steps that declare some.
func (k *keyer) selections() ([]*selection, error) {
	place := make(map[string]int, len(k.plan.Pipeline.Steps))
	for i := range k.plan.Pipeline.Steps {
		place[k.plan.Pipeline.Steps[i].Name] = i
	}
	all := make([]*selection, len(k.plan.Steps))
	lists := make([][]patternList, len(k.plan.Steps))
	for i := range k.plan.Steps {
		if lists[i] = patternLists(&k.plan.Steps[i].Step); len(lists[i]) > 0 {
			all[i] = k.inputs.choose(lists[i])
		}
	}
	k.inputs.selectAll()
	var faults pipeline.Faults
	for i, chosen := range all {
		if chosen != nil {
			s := &k.plan.Steps[i].Step
			faults = append(faults, k.inputs.faults(place[s.Name], s, lists[i], chosen)...)
		}
	}
	if len(faults) > 0 {
		return nil, oneForAll(faults)
	}
	return all, nil
}

// oneForAll joins the faults that steps share, as those with the same policy
// do, to one of the first of them.
func oneForAll(faults pipeline.Faults) (joined pipeline.Faults) {
	first := map[string]int{}
	others := map[int][]string{}
	for _, f := range faults {
		i, told := first[f.Message]
		if !told {
			first[f.Message] = len(joined)
			joined = append(joined, f)
		} else if f.Step != joined[i].Step {
			others[i] = append(others[i], f.Step)
		}
	}
	for i, steps := range others {
		joined[i].Message += "; the same in " + strings.Join(slices.Compact(steps), ", ")
	}
	return joined
}

// key gives a step its material and its key, unless its runner, or that of a
// step it builds in, keeps no results.
func (k *keyer) key(ctx context.Context, s *Step, chosen *selection) error {
	if !KeepsResults(s.Runner) {
		return nil
	}
	m := &Material{
		Version: KeyVersion, Command: s.Command.Argv(), Dir: cleanDir(s.Dir), Env: hideValues(s.Environ),
		Runner: s.Runner.Name(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	if s.Network != pipeline.NetworkHost {
		m.Network = s.Network
	}
	if s.Resources != nil {
		m.CPUs, m.Memory = s.Resources.CPUs, s.Resources.Memory
	}
	var err error
	if m.Args, err = canonicalArgs(s.RunnerArgs); err != nil {
		return fmt.Errorf("step %q: read runner_args: %w", s.Name, err)
	}
	if s.Parent >= 0 {
		if m.Parent = k.plan.Steps[s.Parent].Key; m.Parent.IsZero() {
			return nil
		}
	}
	if k.findsMore(s) {
		if m.Image, err = k.image(ctx, s); err != nil {
			return err
		}
	}
	switch {
	case chosen != nil:
		m.Inputs, m.Patterns = chosen.digest, chosen.patterns
		s.Listed = func() []Input { return k.inputs.list(chosen) }
	case !policyOf(s.Step.Cache).cached:
		m.Inputs, m.AllInputs = wholeDigest(k.facts.Files), true
	}
	s.Material, s.Key = m, m.Key()
	return nil
}

// imageID is what the identity of an image, and of what else of the machine a
// step can see, may depend on.
type imageID struct{ runner, image, args, path string }

func idOfImage(s *Step) imageID {
	id := imageID{runner: s.Runner.Name(), image: s.Image, args: string(s.RunnerArgs)}
	if id.image == "" {
		id.image = pipeline.ImageHost
	}
	for _, variable := range s.Environ {
		if name, _, _ := strings.Cut(variable, "="); strings.EqualFold(name, "PATH") { // any case is meant on some systems
			id.path += variable + "\x00"
		}
	}
	return id
}

// findsMore reports whether a step can see more of the machine than the step
// that it builds in, whose key says what that saw.
func (k *keyer) findsMore(s *Step) bool {
	if s.Parent < 0 {
		return true
	}
	mine, above := idOfImage(s), idOfImage(&k.plan.Steps[s.Parent])
	mine.image = above.image // that of the step at the top
	return mine != above
}

// image returns the identity of the image that a step starts from.
func (k *keyer) image(ctx context.Context, s *Step) (map[string]string, error) {
	id := idOfImage(s)
	if parts := k.images[id]; parts != nil {
		return parts, nil
	}
	step := s.Step
	step.Env = make(map[string]string, len(s.Environ))
	for _, variable := range s.Environ {
		name, value, _ := strings.Cut(variable, "=")
		step.Env[name] = value
	}
	identity, err := k.facts.Identify(ctx, s.Runner, step)
	if err != nil {
		return nil, fmt.Errorf("step %q: identify the image %q: %w", s.Name, id.image, err)
	}
	parts := map[string]string{"name": id.image}
	for part, is := range identity {
		parts[part] = is
	}
	k.images[id] = parts
	return parts, nil
}

func identify(ctx context.Context, r runner.StepRunner, step pipeline.Step) (map[string]string, error) {
	identifier, ok := r.(runner.ImageIdentifier)
	if !ok {
		return nil, nil
	}
	return identifier.IdentifyImage(ctx, step)
}

func cleanDir(dir string) string {
	if dir = path.Clean(dir); dir == "." {
		return ""
	}
	return dir
}

// hideValues replaces the values of variables by their digests.
func hideValues(environ []string) []string {
	hidden := make([]string, len(environ))
	for i, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		sum := sha256.Sum256([]byte(value))
		hidden[i] = name + "=" + hex.EncodeToString(sum[:])
	}
	slices.Sort(hidden)
	return hidden
}

// canonicalArgs returns JSON without spaces and with sorted keys, numbers as
// they are written; empty for no arguments.
func canonicalArgs(args json.RawMessage) (string, error) {
	if len(args) == 0 {
		return "", nil
	}
	d := json.NewDecoder(bytes.NewReader(args))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return "", err
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return "", err
	}
	text := strings.TrimSuffix(out.String(), "\n")
	if text == "{}" || text == "null" {
		return "", nil
	}
	return text, nil
}

// noPast is the past of a new project.
type noPast struct{}

func (noPast) Entry(context.Context, Key) (*Entry, error)                      { return nil, nil }
func (noPast) Gone(context.Context, Key) (*Gone, error)                        { return nil, nil }
func (noPast) Earlier(context.Context, StepID, int) ([]Earlier, error)         { return nil, nil }
func (noPast) LastEnd(context.Context, StepID) (*LastEnd, error)               { return nil, nil }
func (noPast) Inputs(context.Context, Digest) ([]Input, error)                 { return nil, nil }
func (noPast) Durations(context.Context, StepID, int) ([]time.Duration, error) { return nil, nil }
