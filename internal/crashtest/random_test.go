//go:build linux && faults

package crashtest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// randomRuns is how many runs each random pipeline is held against its model.
const randomRuns = 20

// TestRandomPipelines makes pipelines at random and edits their sources and
// commands at random. Whatever is cached, each step's output is that which a run
// without any earlier result would have; and when nothing changed, all that may
// be cached is.
func TestRandomPipelines(t *testing.T) {
	seed := startingSeed(t)
	for n := range uint64(6) {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			s := newSite(t)
			if n%3 == 2 {
				s.mountPoor(0) // where files are copied
			}
			newRandomPipeline(s, rand.New(rand.NewPCG(seed, n))).hold()
		})
	}
}

// randomPipeline is a pipeline and the model of what its steps print.
type randomPipeline struct {
	*site
	random *rand.Rand
	steps  []randomStep
	values map[string]string // of sources
	salt   string            // of the environment
}

type randomStep struct {
	name, runner string
	parent       int   // -1 for none
	inputs       []int // sources that it reads and declares
	changes      int   // one of them that it appends to, -1 for none
	removes      int   // one of them that it removes, -1 for none
	cached       bool
	version      int // of its command
}

const randomSources = 6

func sourceName(i int) string { return fmt.Sprintf("src/%d/f%d.txt", i%2, i) }

func newRandomPipeline(s *site, random *rand.Rand) *randomPipeline {
	p := &randomPipeline{site: s, random: random, values: map[string]string{}, salt: "0"}
	for i := range randomSources {
		p.set(i, "0")
	}
	for i := range 4 + random.IntN(5) {
		step := randomStep{name: fmt.Sprintf("s%d", i), parent: random.IntN(i+1) - 1, changes: -1, removes: -1, cached: random.IntN(4) > 0}
		if step.parent >= 0 {
			step.runner = p.steps[step.parent].runner
		} else {
			step.runner = []string{"container", "container", "host"}[random.IntN(3)]
		}
		step.inputs = random.Perm(randomSources)[:random.IntN(4)]
		slices.Sort(step.inputs)
		if len(step.inputs) > 0 && random.IntN(3) == 0 {
			step.changes = step.inputs[0]
		}
		if len(step.inputs) > 1 && random.IntN(3) == 0 {
			step.removes = step.inputs[1]
		}
		p.steps = append(p.steps, step)
	}
	return p
}

func (p *randomPipeline) set(i int, value string) {
	p.values[sourceName(i)] = value
	p.write(sourceName(i), value+"\n")
}

// command prints, and leaves for children, a digest of all that the step may depend on.
func (s *randomStep) command(steps []randomStep) string {
	var b strings.Builder
	fmt.Fprintf(&b, "{ echo %d $SALT;", s.version)
	if s.parent >= 0 {
		fmt.Fprintf(&b, " cat out/%s;", steps[s.parent].name)
	}
	for _, i := range s.inputs {
		fmt.Fprintf(&b, " cat %s 2>/dev/null || echo none;", sourceName(i))
	}
	fmt.Fprintf(&b, " } > in; mkdir -p out; sha256sum < in > out/%s; cat out/%s", s.name, s.name)
	if s.changes >= 0 {
		fmt.Fprintf(&b, "; mkdir -p %s; echo %s >> %s", filepath.Dir(sourceName(s.changes)), s.name, sourceName(s.changes))
	}
	if s.removes >= 0 {
		fmt.Fprintf(&b, "; rm -f %s", sourceName(s.removes))
	}
	return b.String()
}

// define writes the pipeline.
func (p *randomPipeline) define() {
	p.Helper()
	var b strings.Builder
	for i := range p.steps {
		s := &p.steps[i]
		call, cache := "sh", ""
		if s.parent >= 0 {
			call = p.steps[s.parent].name + ".sh"
		}
		switch {
		case s.cached && len(s.inputs) > 0:
			var patterns []string
			for _, in := range s.inputs {
				patterns = append(patterns, fmt.Sprintf("%q", "/"+sourceName(in)))
			}
			cache = ", cache = on_change(" + strings.Join(patterns, ", ") + ")"
		case s.cached:
			cache = ", cache = forever()"
		}
		fmt.Fprintf(&b, "%s = %s(%q, name = %q, runner = %q%s)\n", s.name, call, s.command(p.steps), s.name, s.runner, cache)
	}
	var names []string
	for _, s := range p.steps {
		names = append(names, s.name)
	}
	fmt.Fprintf(&b, "pipeline(\"random\", [%s], env = {%q: %q, \"SALT\": %q})\n", strings.Join(names, ", "), markVariable, p.mark, p.salt)
	p.write(".strata/ci.star", b.String())
}

// model returns what each step prints.
func (p *randomPipeline) model() map[string]string {
	type state struct {
		out     string
		sources map[string]string // what lies where sources did, with each line's end
	}
	states := make([]state, len(p.steps))
	want := map[string]string{}
	for i := range p.steps {
		s := &p.steps[i]
		sources := map[string]string{}
		for name, value := range p.values {
			sources[name] = value + "\n"
		}
		in := fmt.Sprintf("%d %s\n", s.version, p.salt)
		if s.parent >= 0 {
			above := states[s.parent]
			in += above.out
			// The changes of all steps above lie on today's sources.
			for a := s.parent; a >= 0; a = p.steps[a].parent {
				for _, touched := range []int{p.steps[a].changes, p.steps[a].removes} {
					if touched < 0 {
						continue
					}
					name := sourceName(touched)
					if text, ok := above.sources[name]; ok {
						sources[name] = text
					} else {
						delete(sources, name)
					}
				}
			}
		}
		for _, n := range s.inputs {
			if text, ok := sources[sourceName(n)]; ok {
				in += text
			} else {
				in += "none\n"
			}
		}
		sum := sha256.Sum256([]byte(in))
		out := hex.EncodeToString(sum[:]) + "  -\n"
		if s.changes >= 0 {
			sources[sourceName(s.changes)] += s.name + "\n"
		}
		if s.removes >= 0 {
			delete(sources, sourceName(s.removes))
		}
		states[i] = state{out, sources}
		want[s.name] = out
	}
	return want
}

// hold runs the pipeline again and again, and compares it with its model.
func (p *randomPipeline) hold() {
	p.Helper()
	p.define()
	for n := range randomRuns {
		edit := "nothing"
		if n > 0 {
			edit = p.edit()
		}
		args := []string{"run", "random", "--format", "json", "-j", "2"}
		if p.random.IntN(10) == 0 {
			args = append(args, "--no-cache")
		}
		o := p.run(nil, args...)
		if o.code != 0 {
			p.Fatalf("run %d, after %s: %v", n, edit, o)
		}
		p.compare(o, fmt.Sprintf("run %d, after %s", n, edit))
		if p.random.IntN(3) == 0 {
			p.unchanged(fmt.Sprintf("run %d, after %s, again", n, edit))
		}
	}
	p.whole("random pipelines")
}

// edit changes something at random and says what.
func (p *randomPipeline) edit() string {
	p.Helper()
	i := p.random.IntN(randomSources)
	path := filepath.Join(p.project, sourceName(i))
	switch p.random.IntN(8) {
	case 0, 1, 2:
		p.set(i, fmt.Sprint(p.random.IntN(3))) // may be what it was before
		return "a change of " + sourceName(i)
	case 3:
		p.write(sourceName(i), p.values[sourceName(i)]+"\n")
		return "the same contents in " + sourceName(i)
	case 4:
		mode := []os.FileMode{0o644, 0o755}[p.random.IntN(2)]
		if err := os.Chmod(path, mode); err != nil {
			p.Fatal(err)
		}
		return "a change of the mode of " + sourceName(i)
	case 5:
		s := &p.steps[p.random.IntN(len(p.steps))]
		s.version = p.random.IntN(3)
		p.define()
		return "a change of the command of " + s.name
	case 6:
		p.salt = fmt.Sprint(p.random.IntN(2))
		p.define()
		return "a change of the environment"
	}
	args := [][]string{{"cache", "prune"}, {"cache", "prune", "--max-bytes", "100KiB"}, {"doctor", "--repair"}}[p.random.IntN(3)]
	if o := p.run(nil, args...); o.code != 0 {
		p.Fatal(o)
	}
	return "strata " + strings.Join(args, " ")
}

// compare holds the output of all steps against the model, also that of cached ones.
func (p *randomPipeline) compare(o outcome, after string) {
	p.Helper()
	got := o.output()
	for _, e := range o.events {
		if e.Type == "step_finished" && e.Status == "cached" {
			got[e.Step] = p.run(nil, "logs", e.Step).stdout
		}
	}
	for name, want := range p.model() {
		if got[name] != want {
			p.Fatalf("%s: the step %s prints %q, not %q: %v\n%s", after, name, got[name], want, o, p.run(nil, "why", name))
		}
	}
}

// unchanged runs once more: all that may be cached is.
func (p *randomPipeline) unchanged(after string) {
	p.Helper()
	o := p.run(nil, "run", "random", "--format", "json")
	p.compare(o, after)
	for _, s := range p.steps {
		i := slices.IndexFunc(o.events, func(e event) bool { return e.Type == "step_finished" && e.Step == s.name })
		if s.cached && (i < 0 || o.events[i].Status != "cached") {
			p.Fatalf("%s: the step %s runs: %v\n%s", after, s.name, o, p.run(nil, "why", s.name))
		}
	}
}
