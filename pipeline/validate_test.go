package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// valid returns a pipeline of three steps without faults, to be spoiled.
func valid() *Pipeline {
	return &Pipeline{Version: Version, Name: "ci", Steps: []Step{
		{Name: "build", Command: Command{Shell: "make"}},
		{Name: "test", Command: Command{Args: []string{"make", "test"}}, BuildsIn: "build"},
		{Name: "lint", Command: Command{Shell: "make lint"}, DependsOn: []string{"build", "build"}},
	}}
}

var runners = RunnerSet{
	Names:   []string{"vm", "host", "container"},
	Default: "container",
	Formats: map[string]string{"container": "layers", "vm": "layers"},
	CheckStep: func(_ string, step Step) error {
		if step.RunnerArgs != nil {
			return fmt.Errorf("unknown argument %s", step.RunnerArgs)
		}
		return nil
	},
}

func messages(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	var faults Faults
	if !errors.As(err, &faults) {
		t.Fatalf("error of type %T, want Faults", err)
	}
	var out []string
	for _, f := range faults {
		out = append(out, f.Path+": "+f.Message)
	}
	return out
}

func TestValidateFaults(t *testing.T) {
	const rule = "use 1 to 64 letters, digits, '.', '_' and '-', beginning with a letter or digit"
	for name, c := range map[string]struct {
		spoil func(p *Pipeline)
		want  []string
	}{
		"nothing":         {func(*Pipeline) {}, nil},
		"no name":         {func(p *Pipeline) { p.Name = "" }, []string{"name: the pipeline has no name: " + rule}},
		"malformed name":  {func(p *Pipeline) { p.Name = "a b" }, []string{`name: the pipeline's name "a b" is malformed: ` + rule}},
		"version":         {func(p *Pipeline) { p.Version = 2 }, []string{"version: unknown version 2: only version 1 exists"}},
		"no steps":        {func(p *Pipeline) { p.Steps = nil }, []string{"steps: the pipeline has no steps: give it at least one"}},
		"pipeline env":    {func(p *Pipeline) { p.Env = map[string]string{"A=B": "c"} }, []string{`env: the environment variable "A=B" has a malformed name: it must have at least one character and no '=', space or control character`}},
		"step name":       {func(p *Pipeline) { p.Steps[2].Name = "../x" }, []string{"steps[2].name: the name is malformed: " + rule}},
		"no step name":    {func(p *Pipeline) { p.Steps[2].Name = "" }, []string{"steps[2].name: the step has no name: " + rule}},
		"duplicate":       {func(p *Pipeline) { p.Steps[2].Name = "test" }, []string{"steps[2].name: the name is taken by the step at steps[1]: give one of them another name"}},
		"duplicate place": {func(p *Pipeline) { p.Steps[2].Name = "test"; p.Steps[1].Pos = Position{"ci.star", 7, 2} }, []string{"steps[2].name: the name is taken by the step at ci.star:7:2: give one of them another name"}},
		"unknown parent":  {func(p *Pipeline) { p.Steps[1].BuildsIn = "biuld" }, []string{`steps[1].builds_in: it builds in the step "biuld", which does not exist (did you mean "build"?)`}},
		"unknown need":    {func(p *Pipeline) { p.Steps[1].DependsOn = []string{"nowhere"} }, []string{`steps[1].depends_on[0]: it depends on the step "nowhere", which does not exist`}},
		"self": {func(p *Pipeline) { p.Steps[1].BuildsIn = "test"; p.Steps[1].DependsOn = []string{"test"} }, []string{
			"steps[1].builds_in: it builds in itself: remove that", "steps[1].depends_on[0]: it depends on itself: remove that",
		}},
		"image":         {func(p *Pipeline) { p.Steps[1].Image = "golang" }, []string{`steps[1].image: the step builds in "build" and cannot have an image too: it starts from that step's files; leave out one of them`}},
		"image spaces":  {func(p *Pipeline) { p.Steps[0].Image = "a b" }, []string{`steps[0].image: the image "a b" is malformed: use "host" or an image reference without spaces`}},
		"no command":    {func(p *Pipeline) { p.Steps[0].Command = Command{Shell: " \n"} }, []string{"steps[0].command: the command is empty: say what the step is to run"}},
		"empty list":    {func(p *Pipeline) { p.Steps[0].Command = Command{Args: []string{}} }, []string{"steps[0].command: the command is empty: say what the step is to run"}},
		"no program":    {func(p *Pipeline) { p.Steps[0].Command = Command{Args: []string{"", "x"}} }, []string{"steps[0].command: the first word of the command is empty: it must name a program"}},
		"both commands": {func(p *Pipeline) { p.Steps[0].Command.Args = []string{"x"} }, []string{"steps[0].command: the command is both a string and a list: use one of them"}},
		"NUL":           {func(p *Pipeline) { p.Steps[1].Command.Args[1] = "a\x00" }, []string{"steps[1].command: the command contains a NUL byte: remove it"}},
		"not UTF-8":     {func(p *Pipeline) { p.Steps[0].Command.Shell = "\xff" }, []string{"steps[0].command: the command is not valid UTF-8"}},
		"label":         {func(p *Pipeline) { p.Steps[0].Label = "a\nb" }, []string{"steps[0].label: the label must be one line without control characters"}},
		"long label":    {func(p *Pipeline) { p.Steps[0].Label = strings.Repeat("ä", 201) }, []string{"steps[0].label: the label is longer than 200 characters: shorten it"}},
		"timeouts": {func(p *Pipeline) { p.Timeout = -1; p.Steps[2].Timeout = -Duration(1e9) }, []string{
			"timeout: the time limit -1ns is negative: it must be longer than zero; leave it out for no limit",
			"steps[2].timeout: the time limit -1s is negative: it must be longer than zero; leave it out for no limit",
		}},
		"retries": {func(p *Pipeline) { p.Steps[0].Retry, p.Steps[1].RetryFailed, p.Steps[2].Retry = 11, -1, 10 }, []string{
			"steps[0].retry: 11 retries are out of range: use 0 to 10",
			"steps[1].retry_failed: -1 retries are out of range: use 0 to 10",
		}},
		"absolute dir":   {func(p *Pipeline) { p.Steps[0].Dir = "/etc" }, []string{`steps[0].dir: the directory "/etc" is absolute: make it relative to the workspace`}},
		"drive":          {func(p *Pipeline) { p.Steps[0].Dir = "C:x" }, []string{`steps[0].dir: the directory "C:x" is absolute: make it relative to the workspace`}},
		"dir outside":    {func(p *Pipeline) { p.Steps[0].Dir = "a/../../b" }, []string{`steps[0].dir: the directory "a/../../b" contains '..': it must stay within the workspace`}},
		"backslash":      {func(p *Pipeline) { p.Steps[0].Dir = `..\b` }, []string{`steps[0].dir: the directory "..\\b" contains a backslash: write '/' between directories`}},
		"env NUL":        {func(p *Pipeline) { p.Steps[0].Env = map[string]string{"A": "\x00"} }, []string{"steps[0].env: the value of the environment variable A contains a NUL byte: remove it"}},
		"env long":       {func(p *Pipeline) { p.Steps[0].Env = map[string]string{"A": strings.Repeat("x", 128<<10)} }, []string{"steps[0].env: the environment variable A is longer than 128.0 KiB, the most that a process can be given: pass a file"}},
		"network":        {func(p *Pipeline) { p.Steps[0].Network = "bridge" }, []string{`steps[0].network: unknown network "bridge": use "host" or "none"`}},
		"runner":         {func(p *Pipeline) { p.Steps[2].Runner = "contaner" }, []string{`steps[2].runner: unknown runner "contaner" (did you mean "container"?): there are container, host, vm`}},
		"runner args":    {func(p *Pipeline) { p.Steps[2].RunnerArgs = json.RawMessage(`{"x": 1}`) }, []string{`steps[2].runner: the runner "container" cannot run this step: unknown argument {"x": 1}`}},
		"malformed args": {func(p *Pipeline) { p.Steps[2].RunnerArgs = json.RawMessage(`{"x"`) }, []string{"steps[2].runner_args: runner_args is not valid JSON: unexpected end of JSON input"}},
		"two args":       {func(p *Pipeline) { p.Steps[2].RunnerArgs = json.RawMessage(`{}{}`) }, []string{"steps[2].runner_args: runner_args is not valid JSON: invalid character '{' after top-level value"}},
		"shared":         {func(p *Pipeline) { p.Steps[1].Runner = "vm" }, nil},
		"not shared":     {func(p *Pipeline) { p.Steps[1].Runner = "host" }, []string{`steps[1].builds_in: it builds in "build", but the runners "container" and "host" do not share snapshots: run both on one of them, or use depends_on`}},
		"its own":        {func(p *Pipeline) { p.Steps[0].Runner = "host"; p.Steps[1].Runner = "host" }, nil},
		"CPUs":           {func(p *Pipeline) { p.Steps[0].Resources = &Resources{CPUs: -1} }, []string{"steps[0].resources.cpus: -1 CPUs is out of range: use 0.01 to 4096; leave it out for no limit"}},
		"CPUs NaN":       {func(p *Pipeline) { p.Steps[0].Resources = &Resources{CPUs: math.NaN()} }, []string{"steps[0].resources.cpus: NaN CPUs is out of range: use 0.01 to 4096; leave it out for no limit"}},
		"memory":         {func(p *Pipeline) { p.Steps[0].Resources = &Resources{Memory: 512} }, []string{"steps[0].resources.memory: 512 bytes of memory is out of range: use 1.0 MiB to 1024.0 TiB; leave it out for no limit"}},
		"inputs":         {func(p *Pipeline) { p.Steps[0].Inputs = []string{"ok", "", "/x", "//x"} }, []string{`steps[0].inputs[1]: the path "" is empty: name a file of the workspace`, `steps[0].inputs[3]: the path "//x" is absolute: make it relative to the workspace`}},
		"cache kind":     {func(p *Pipeline) { p.Steps[0].Cache = &CachePolicy{Kind: "forevr"} }, []string{`steps[0].cache.policy: unknown cache policy "forevr" (did you mean "forever"?): there are none, forever, ttl, on_change, all`}},
		"ttl":            {func(p *Pipeline) { p.Steps[0].Cache = &CachePolicy{Kind: CacheTTL} }, []string{`steps[0].cache.ttl: the cache policy "ttl" needs a ttl longer than zero, such as "24h"`}},
		"on_change":      {func(p *Pipeline) { p.Steps[0].Cache = &CachePolicy{Kind: CacheOnChange} }, []string{`steps[0].cache.paths: the cache policy "on_change" needs at least one path`}},
		"all":            {func(p *Pipeline) { p.Steps[0].Cache = &CachePolicy{Kind: CacheAll} }, []string{`steps[0].cache.all: the cache policy "all" needs at least one policy`}},
		"superfluous": {func(p *Pipeline) {
			p.Steps[0].Cache = &CachePolicy{Kind: CacheForever, TTL: 1, Paths: []string{"a"}, All: []CachePolicy{{Kind: CacheForever}}}
		}, []string{
			`steps[0].cache.ttl: the cache policy "forever" takes no ttl: leave it out, or use the policy "ttl"`,
			`steps[0].cache.paths: the cache policy "forever" takes no paths: leave them out, or use the policy "on_change"`,
			`steps[0].cache.all: the cache policy "forever" takes no other policies: leave them out, or use the policy "all"`,
		}},
		"nested": {func(p *Pipeline) {
			p.Steps[0].Cache = &CachePolicy{Kind: CacheAll, All: []CachePolicy{{Kind: CacheForever}, {Kind: CacheAll, All: []CachePolicy{{Kind: CacheForever}}}}}
		}, []string{`steps[0].cache.all[1]: the cache policy "all" is inside another one: put all policies into one list`}},
		"everything at once, in order": {func(p *Pipeline) {
			p.Name, p.Steps[2].Network, p.Steps[0].Dir, p.Steps[1].Timeout = "", "x", "/", -1
		}, []string{
			"name: the pipeline has no name: " + rule,
			`steps[0].dir: the directory "/" is absolute: make it relative to the workspace`,
			"steps[1].timeout: the time limit -1ns is negative: it must be longer than zero; leave it out for no limit",
			`steps[2].network: unknown network "x": use "host" or "none"`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p := valid()
			c.spoil(p)
			if diff := cmp.Diff(c.want, messages(t, Validate(p, runners))); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCycles(t *testing.T) {
	const before, after = ": the steps wait for each other in a cycle: ", "; remove one of these builds_in or depends_on"
	for graph, want := range map[string][]string{
		"a:b b:a":              {"steps[0]" + before + "a → b → a" + after},
		"a:b b:c c:a":          {"steps[0]" + before + "a → b → c → a" + after},
		"a:b,c b:a c:a":        {"steps[0]" + before + "a → b → a" + after, "steps[0]" + before + "a → c → a" + after},
		"a:b b:a c:d d:c":      {"steps[0]" + before + "a → b → a" + after, "steps[2]" + before + "c → d → c" + after},
		"a:b,b b:a,a":          {"steps[0]" + before + "a → b → a" + after},
		"x:a a:b b:a":          {"steps[1]" + before + "a → b → a" + after},
		"a:b,c b:d c:d d:":     nil,
		"a:b b:c c:d d:b,a":    {"steps[0]" + before + "a → b → c → d → a" + after, "steps[1]" + before + "b → c → d → b" + after},
		"a: b:a c:b,a d:c,b,a": nil,
	} {
		p := &Pipeline{Version: 1, Name: "ci"}
		for _, node := range strings.Fields(graph) {
			name, needs, _ := strings.Cut(node, ":")
			s := Step{Name: name, Command: Command{Shell: "x"}}
			if needs != "" {
				s.DependsOn = strings.Split(needs, ",")
			}
			if name == "b" && len(s.DependsOn) > 0 { // either kind of edge closes a cycle
				s.BuildsIn = s.DependsOn[0]
			}
			p.Steps = append(p.Steps, s)
		}
		if diff := cmp.Diff(want, messages(t, Validate(p, RunnerSet{}))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", graph, diff)
		}
	}
}

// chain returns n steps of which each builds in the one before.
func chain(n int) *Pipeline {
	p := &Pipeline{Version: 1, Name: "ci", Steps: make([]Step, n)}
	for i := range p.Steps {
		p.Steps[i] = Step{Name: fmt.Sprintf("s%d", i), Command: Command{Shell: "true"}}
		if i > 0 {
			p.Steps[i].BuildsIn = p.Steps[i-1].Name
		}
	}
	return p
}

func TestValidateLongChains(t *testing.T) {
	const n = 100_000
	p := chain(n)
	if err := Validate(p, runners); err != nil {
		t.Fatal(err)
	}
	p.Steps[0].BuildsIn = p.Steps[n-1].Name
	got := messages(t, Validate(p, runners))
	want := []string{"steps[0]: the steps wait for each other in a cycle: s0 → s99999 → s99998 → s99997 → s99996 → … (99990 more) → " +
		"s5 → s4 → s3 → s2 → s1 → s0; remove one of these builds_in or depends_on"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for i := range p.Steps {
		p.Steps[i].BuildsIn = fmt.Sprintf("t%d", i)
	}
	err := Validate(p, runners)
	if got := messages(t, err); len(got) != n {
		t.Errorf("%d faults, want %d", len(got), n)
	}
	if text := err.Error(); !strings.HasSuffix(text, "\n… and 99950 more") || strings.Count(text, "\n") != 50 {
		t.Errorf("the text of many faults has no end: %d bytes", len(text))
	}
}

func TestFaultText(t *testing.T) {
	for want, f := range map[string]Fault{
		`ci.star:3:5: step "test": too slow`:   {Path: "steps[3]", Step: "test", Pos: Position{"ci.star", 3, 5}, Message: "too slow"},
		`steps[3].timeout: step "x": too slow`: {Path: "steps[3].timeout", Step: "x", Message: "too slow"},
		`too slow`:                             {Message: "too slow"},
	} {
		if got := f.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	p := chain(100_000)
	for b.Loop() {
		if err := Validate(p, runners); err != nil {
			b.Fatal(err)
		}
	}
}
