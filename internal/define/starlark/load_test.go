package starlark

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-ci/strata/internal/define/source"
	"github.com/strata-ci/strata/pipeline"
)

// project writes files into a new directory and returns it.
func project(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func openRoot(t *testing.T, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// loadFiles loads the named files of a project that has the given ones.
func loadFiles(t *testing.T, files map[string]string, names ...string) ([]*pipeline.Pipeline, error) {
	t.Helper()
	return Load(context.Background(), openRoot(t, project(t, files)), names, func(string) {})
}

// loadText loads one file ci.star with that text.
func loadText(t *testing.T, text string) ([]*pipeline.Pipeline, error) {
	t.Helper()
	return loadFiles(t, map[string]string{"ci.star": text}, "ci.star")
}

func mustLoad(t *testing.T, text string) *pipeline.Pipeline {
	t.Helper()
	pipelines, err := loadText(t, text)
	if err != nil {
		t.Fatal(err)
	}
	if len(pipelines) != 1 {
		t.Fatalf("%d pipelines, want one", len(pipelines))
	}
	return pipelines[0]
}

func TestEveryArgument(t *testing.T) {
	got := mustLoad(t, `
first = sh(
    "make deps", name = "deps", label = "Dependencies", image = "golang:1.26",
    runner = "docker", runner_args = {"z": [1, 2.5, None], "a": {"t": True, "s": "<&>"}},
    env = {"B": "2", "A": "1"}, dir = "sub/dir", timeout = "1h30m", retry = 3, retry_failed = 1, cache = [on_change("go.mod", "go.sum"), ttl("7d")],
    inputs = ["src/**", "go.mod"], network = "none", cpus = 1.5, memory = "2GiB",
)
second = first.sh(["go", "test", "./..."], cpus = 2, memory = 1 << 30, cache = forever())
third = sh("echo done", after = [second, wait(first)], cache = none())
pipeline("ci", third, env = {"CI": "true"}, timeout = "2h")
`)
	want := &pipeline.Pipeline{
		Version: 1, Name: "ci", Env: map[string]string{"CI": "true"}, Timeout: 2 * hour,
		Pos: pipeline.Position{File: "ci.star", Line: 10, Col: 1},
		Steps: []pipeline.Step{
			{
				Name: "deps", Label: "Dependencies", Command: pipeline.Command{Shell: "make deps"}, Dir: "sub/dir",
				Env: map[string]string{"A": "1", "B": "2"}, Image: "golang:1.26", Runner: "docker",
				RunnerArgs: json.RawMessage(`{"a":{"s":"<&>","t":true},"z":[1,2.5,null]}`),
				Timeout:    hour + hour/2, Retry: 3, RetryFailed: 1, Inputs: []string{"src/**", "go.mod"}, Network: "none",
				Resources: &pipeline.Resources{CPUs: 1.5, Memory: 2 << 30},
				Cache: &pipeline.CachePolicy{Kind: pipeline.CacheAll, All: []pipeline.CachePolicy{
					{Kind: pipeline.CacheOnChange, Paths: []string{"go.mod", "go.sum"}},
					{Kind: pipeline.CacheTTL, TTL: 7 * 24 * hour},
				}},
				Pos: pipeline.Position{File: "ci.star", Line: 2, Col: 9},
			},
			{
				Name: "go-test", Command: pipeline.Command{Args: []string{"go", "test", "./..."}}, BuildsIn: "deps",
				Cache:     &pipeline.CachePolicy{Kind: pipeline.CacheForever},
				Resources: &pipeline.Resources{CPUs: 2, Memory: 1 << 30},
				Pos:       pipeline.Position{File: "ci.star", Line: 8, Col: 16},
			},
			{
				Name: "echo-done", Command: pipeline.Command{Shell: "echo done"}, DependsOn: []string{"go-test", "deps"},
				Pos: pipeline.Position{File: "ci.star", Line: 9, Col: 9},
			},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pipeline (-want +got):\n%s", diff)
	}
	if err := pipeline.Validate(got, pipeline.RunnerSet{}); err != nil {
		t.Errorf("Validate: %v", err)
	}
}

const hour = pipeline.Duration(3600e9)

func stepNames(p *pipeline.Pipeline) []string {
	var names []string
	for _, s := range p.Steps {
		names = append(names, s.Name)
	}
	return names
}

func TestStepsInDefinitionOrderWithAllThatTheyNeed(t *testing.T) {
	pipelines, err := loadText(t, `
a = sh("a")
b = a.sh("b")
c = sh("c")
d = sh("d", after = wait(b, [c]))
e = sh("e", after = d)
pipeline("all", [e, (d,)])
pipeline("some", wait(c, b))
`)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, p := range pipelines {
		got[p.Name] = stepNames(p)
	}
	want := map[string][]string{"all": {"a", "b", "c", "d", "e"}, "some": {"a", "b", "c"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNamesOfUnnamedSteps(t *testing.T) {
	pipelines, err := loadText(t, `
a = sh("go test ./a")
b = sh("go test ./b")
c = sh("go test ./c")
d = sh("make", name = "go-test")
pipeline("one", a, b, c, d)
pipeline("two", c)
print(d.name, a.name)
`)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"go-test-2", "go-test-3", "go-test-4", "go-test"}, stepNames(pipelines[0])); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"go-test"}, stepNames(pipelines[1])); diff != "" {
		t.Error(diff)
	}
}

func TestLanguage(t *testing.T) {
	var printed []string
	root := openRoot(t, project(t, map[string]string{
		".strata/ci.star": `
load("lib.star", "check", go = "go_version")
load("//tools/more.star", "more")
steps = []
for v in ["1", "2"]:
    if v != go:
        steps = steps + [check(v)]
steps += [check(x * 2) for x in ["a"]]
greeting = "hello %s"
greeting %= "world"
print(greeting, ",".join(["a", "b"]), "{}-{}".format(1, 2), "aXb".replace("X", "-"), getattr("+", "join")(["x", "y"]))
print(7 % 4, [0] * 3, 2 * [1], (1,) * 2, 3 * 4, 2.5 * 2, "%s=%d" % ("a", 1), "%(k)s" % {"k": "v"}, str([1]), repr("q"))
n = 3
n *= 2
print(n, len(range(5)))
pipeline("ci", *steps + [more])
`,
		".strata/lib.star": "go_version = \"1\"\ndef check(v):\n    return sh(\"check \" + v)\nunused = sh(\"library steps need not be used\")\n",
		"tools/more.star":  "load(\"../.strata/lib.star\", \"go_version\")\nmore = sh(\"more \" + go_version)\n",
	}))
	pipelines, err := Load(context.Background(), root, []string{".strata/ci.star"}, func(s string) { printed = append(printed, s) })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"more-1", "check-2", "check-aa"}, stepNames(pipelines[0])); diff != "" {
		t.Error(diff)
	}
	if got, want := pipelines[0].Steps[1].Pos.String(), ".strata/lib.star:3:12"; got != want {
		t.Errorf("the step of a library is at %s, want %s", got, want)
	}
	want := []string{"hello world a,b 1-2 a-b x+y", `3 [0, 0, 0] [1, 1] (1, 1) 12 5.0 a=1 v [1] "q"`, "6 5"}
	if diff := cmp.Diff(want, printed); diff != "" {
		t.Error(diff)
	}
}

// TestMessages has for each mistake the whole text that its author sees.
func TestMessages(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"unknown keyword argument": {
			"t = sh(\"go test\", imagee = \"x\")",
			"ci.star:1:19: sh: unexpected keyword argument \"imagee\" (did you mean \"image\"?)\n" +
				"    1 | t = sh(\"go test\", imagee = \"x\")\n" +
				"      |                   ^",
		},
		"syntax": {
			"t = sh(\"a\"\n\nx = 1\n",
			"ci.star:3:2: got identifier, want ','\n    3 | x = 1\n      |  ^",
		},
		"undefined with a hint from the language": {
			"a = sh(\"x\")\npipelin(\"ci\", a)",
			"ci.star:2:1: undefined: pipelin (did you mean \"pipeline\"?)\n    2 | pipelin(\"ci\", a)\n      | ^",
		},
		"undefined with a hint from the file": {
			"builder = sh(\"x\")\npipeline(\"ci\", biulder)",
			"ci.star:2:16: undefined: biulder (did you mean \"builder\"?)\n    2 | pipeline(\"ci\", biulder)\n      |                ^",
		},
		"all undefined names at once": {
			"pipeline(\"ci\", aaaa)\npipeline(\"cd\", bbbb)",
			"ci.star:1:16: undefined: aaaa\n    1 | pipeline(\"ci\", aaaa)\n      |                ^\n" +
				"ci.star:2:16: undefined: bbbb\n    2 | pipeline(\"cd\", bbbb)\n      |                ^",
		},
		"a run-time error in a function": {
			"def f(x):\n\treturn sh(x, env = [])\n\nf(\"a\")",
			"ci.star:2:15: sh: argument \"env\" must be a dict of strings, not list\n    2 | \treturn sh(x, env = [])\n      | \t             ^\n    called from ci.star:4:1",
		},
		"fail": {
			"if True:\n    fail(\"no compiler for\", \"mips\")",
			"ci.star:2:5: no compiler for mips\n    2 |     fail(\"no compiler for\", \"mips\")\n      |     ^",
		},
		"method": {
			"a = sh(\"x\")\nb = a.hs(\"y\")",
			"ci.star:2:6: a step has no attribute \"hs\": there are .name and .sh(…)\n    2 | b = a.hs(\"y\")\n      |      ^",
		},
		"a step in no pipeline": {
			"a = sh(\"x\")\nb = a.sh(\"go vet\")\npipeline(\"ci\", a)",
			"ci.star:2:7: the step \"go-vet\" is in no pipeline: give it to pipeline(…), or remove it\n    2 | b = a.sh(\"go vet\")\n      |       ^",
		},
		"pipeline name taken": {
			"a = sh(\"x\")\npipeline(\"ci\", a)\npipeline(\"ci\", a)",
			"ci.star:3:1: pipeline: the name \"ci\" is taken by the pipeline at ci.star:2:1: give one of them another name\n    3 | pipeline(\"ci\", a)\n      | ^",
		},
		"image in a child": {
			"a = sh(\"x\")\na.sh(\"y\", image = \"z\")",
			"ci.star:2:11: sh: a step that builds in another starts from that step's files and cannot have an image: leave it out, or use sh(…, after = …)\n    2 | a.sh(\"y\", image = \"z\")\n      |           ^",
		},
		"while": {
			"while True:\n    pass",
			"ci.star:1:1: this Starlark dialect does not support while loops\n    1 | while True:\n      | ^",
		},
		"recursion": {
			"def f():\n    f()\nf()",
			"ci.star:2:5: function f called recursively\n    2 |     f()\n      |     ^\n    called from ci.star:3:1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadText(t, c.text)
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(c.want, err.Error()); diff != "" {
				t.Errorf("message (-want +got):\n%s\n%s", diff, err)
			}
		})
	}
}

// TestArgumentMessages has only the messages, without their place.
func TestArgumentMessages(t *testing.T) {
	for call, want := range map[string]string{
		`sh()`:                             `sh: the argument "command" is missing: say what the step is to run`,
		`sh(1)`:                            `sh: argument "command" must be a string or a list of strings, not the int 1`,
		`sh([])`:                           `sh: the argument "command" is an empty list: it must name a program`,
		`sh(["a", 1])`:                     `sh: element 1 of argument "command" must be a string, not the int 1`,
		`sh("a", "b")`:                     `sh: got 2 positional arguments, want at most 1: name the others, as in name = …`,
		`sh("a", command = "b")`:           `sh: the argument "command" is given twice`,
		`sh("a", name = 1)`:                `sh: argument "name" must be a string, not the int 1`,
		`sh("a", timeout = 10)`:            `sh: argument "timeout" must be a duration such as "10m", not the int 10`,
		`sh("a", timeout = "10")`:          `sh: argument "timeout": "10" is not a duration: write a number with a unit, such as 90s, 10m, 1h30m or 7d`,
		`sh("a", timeout = "0s")`:          `sh: argument "timeout": the duration "0s" must be longer than zero`,
		`sh("a", cpus = "2")`:              `sh: argument "cpus" must be a number, not the string "2"`,
		`sh("a", cpus = 0)`:                `sh: argument "cpus" must be greater than zero: leave it out for no limit`,
		`sh("a", cpus = float("nan"))`:     `sh: argument "cpus" must be greater than zero: leave it out for no limit`,
		`sh("a", retry = "2")`:             `sh: argument "retry" must be a whole number from 0 to 10, not the string "2"`,
		`sh("a", retry = 1.0)`:             `sh: argument "retry" must be a whole number from 0 to 10, not the float 1.0`,
		`sh("a", retry = -1)`:              `sh: argument "retry" must be a whole number from 0 to 10, not the int -1`,
		`sh("a", retry_failed = 11)`:       `sh: argument "retry_failed" must be a whole number from 0 to 10, not the int 11`,
		`sh("a", retry_failed = 1 << 70)`:  `sh: argument "retry_failed" must be a whole number from 0 to 10, not the int 1180591620717411303424`,
		`sh("a", memory = "many")`:         `sh: argument "memory": "many" is not an amount of bytes: write a number with a unit, such as 512MiB or 2GiB`,
		`sh("a", memory = -1)`:             `sh: argument "memory" must be greater than zero and below 2^63: leave it out for no limit`,
		`sh("a", memory = 1.5)`:            `sh: argument "memory" must be an amount of bytes such as "2GiB", not the float 1.5`,
		`sh("a", env = {"A": 1})`:          `sh: the value of "A" in argument "env" must be a string, not the int 1`,
		`sh("a", env = {1: "A"})`:          `sh: a key of argument "env" must be a string, not the int 1`,
		`sh("a", cache = "forever")`:       `sh: argument "cache" must be a cache policy such as forever(), or a list of them, not the string "forever"`,
		`sh("a", cache = forever)`:         `sh: argument "cache" must be a cache policy such as forever(), or a list of them, not builtin_function_or_method`,
		`sh("a", cache = [])`:              `sh: argument "cache" is an empty list: give at least one cache policy`,
		`sh("a", inputs = "x")`:            `sh: argument "inputs" must be a list of strings, not the string "x"`,
		`sh("a", after = "b")`:             `sh: argument "after" must be steps, barriers or lists of them, not the string "b"`,
		`sh("a", runner_args = [1])`:       `sh: argument "runner_args" must be a dict, not list`,
		`sh("a", runner_args={1: 2})`:      `sh: argument "runner_args" has a key that is not a string but the int 1`,
		`sh("a", runner_args={"a":sh})`:    `sh: argument "runner_args" holds a builtin_function_or_method, which JSON cannot say`,
		`wait()`:                           `wait: give it at least one step to wait for`,
		`pipeline()`:                       `pipeline: the name is missing: write pipeline("ci", step, …)`,
		`pipeline("ci")`:                   `pipeline: "ci" has no steps: write pipeline("ci", step, …)`,
		`pipeline(sh("a"))`:                `pipeline: argument "name" must be a string, not step`,
		`pipeline("ci", sh("a"), envs={})`: `pipeline: unexpected keyword argument "envs" (did you mean "env"?)`,
		`ttl()`:                            `ttl: the argument "duration" is missing: write ttl("24h")`,
		`on_change()`:                      `on_change: give it at least one path, as in on_change("go.mod")`,
		`forever(1)`:                       `forever: takes no arguments`,
		`all_of()`:                         `all_of: argument "policies" is an empty list: give at least one cache policy`,
	} {
		_, err := loadText(t, call)
		var located *source.Error
		if !errors.As(err, &located) {
			t.Errorf("%s: error %v, want one with a place", call, err)
			continue
		}
		if located.Message != want || located.Pos.Line != 1 || located.Pos.Col < 1 {
			t.Errorf("%s\n got %s: %s\nwant %s", call, located.Pos, located.Message, want)
		}
	}
}

func TestLoadMessages(t *testing.T) {
	escape := t.TempDir()
	if err := os.WriteFile(filepath.Join(escape, "secret.star"), []byte("x = 1"), 0o644); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"dir/a.star":      `load("b.star", "x")`,
		"dir/b.star":      `load("//dir/c.star", "x")`,
		"dir/c.star":      `load("a.star", "x")`,
		"up.star":         `load("../x.star", "x")`,
		"up2.star":        `load("//../x.star", "x")`,
		"abs.star":        `load("/etc/passwd", "x")`,
		"missing.star":    `load("lib.star", "x")`,
		"link.star":       `load("out/secret.star", "x")`,
		"directory.star":  `load("dir", "x")`,
		"name.star":       `load("ok.star", "steps")`,
		"ok.star":         `step = 1`,
		"broken.star":     "x = 1\nload(\"bad.star\", \"x\")",
		"bad.star":        "def f():\n    return 1 + None\nx = f()",
		"huge.star":       `load("big.star", "x")`,
		"big.star":        "#" + strings.Repeat("x", 1<<20),
		"empty.star":      "",
		"windows.star":    `load("dir\\a.star", "x")`,
		"unreadable.star": "\xff\xfe",
	}
	dir := project(t, files)
	if err := os.Symlink(escape, filepath.Join(dir, "out")); err != nil {
		t.Skip("no symbolic links here: ", err)
	}
	for file, want := range map[string]string{
		"dir/a.star":     "dir/c.star:1:1: load cycle: dir/a.star → dir/b.star → dir/c.star → dir/a.star\n    1 | load(\"a.star\", \"x\")\n      | ^\n    loaded by dir/b.star:1:1\n    loaded by dir/a.star:1:1",
		"up.star":        `up.star:1:1: load "../x.star": outside of the project: only files of the project can be loaded`,
		"up2.star":       `up2.star:1:1: load "//../x.star": outside of the project: only files of the project can be loaded`,
		"abs.star":       `abs.star:1:1: load "/etc/passwd": an absolute path: write "//…" for a file below the project's root`,
		"windows.star":   `windows.star:1:1: load "dir\\a.star": outside of the project: only files of the project can be loaded`,
		"missing.star":   `missing.star:1:1: read lib.star: there is no such file`,
		"link.star":      `link.star:1:1: read out/secret.star: it leads outside of the project`,
		"directory.star": `directory.star:1:1: read dir: not a regular file`,
		"name.star":      `name.star:1:1: load: name steps not found in module ok.star (did you mean step?)`,
		"broken.star":    "bad.star:2:14: unknown binary op: int + NoneType\n    2 |     return 1 + None\n      |              ^\n    called from bad.star:3:5\n    loaded by broken.star:2:1",
		"huge.star":      `huge.star:1:1: read big.star: the file is larger than 1.0 MiB: split it, or keep data out of it`,
		"big.star":       `big.star: read big.star: the file is larger than 1.0 MiB: split it, or keep data out of it`,
		"nowhere.star":   `nowhere.star: read nowhere.star: there is no such file`,
	} {
		_, err := Load(context.Background(), openRoot(t, dir), []string{file}, func(string) {})
		if err == nil {
			t.Errorf("%s: no error", file)
			continue
		}
		got := err.Error()
		if !strings.Contains(want, "\n") {
			got, _, _ = strings.Cut(got, "\n")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", file, diff)
		}
	}
	if pipelines, err := Load(context.Background(), openRoot(t, dir), []string{"empty.star"}, func(string) {}); err != nil || len(pipelines) != 0 {
		t.Errorf("an empty file: %v, %v; want no pipelines and no error", pipelines, err)
	}
}

// A file that two others load is executed once, and the same step is in both pipelines.
func TestFilesShareModules(t *testing.T) {
	pipelines, err := loadFiles(t, map[string]string{
		"a.star":   "load(\"lib.star\", \"base\")\npipeline(\"a\", base.sh(\"a\"))",
		"b.star":   "load(\"lib.star\", \"base\")\npipeline(\"b\", base.sh(\"b\"))",
		"lib.star": "base = sh(\"base\")\npipeline(\"lib\", base)",
	}, "a.star", "b.star", "lib.star")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, p := range pipelines {
		got[p.Name] = stepNames(p)
	}
	want := map[string][]string{"lib": {"base"}, "a": {"base", "a"}, "b": {"base", "b"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNothingFromOutside(t *testing.T) {
	for _, name := range []string{"time", "now", "env", "open", "read", "http", "glob", "exec", "os", "json"} {
		if _, err := loadText(t, "x = "+name); err == nil || !strings.Contains(err.Error(), "undefined: "+name) {
			t.Errorf("%s exists: %v", name, err)
		}
	}
	known := (&session{limits: defaultLimits}).builtins()
	visible := slices.DeleteFunc(slices.Sorted(maps.Keys(known)), func(name string) bool { return strings.ContainsAny(name, "*%.+") })
	want := []string{"all_of", "fail", "forever", "getattr", "none", "on_change", "pipeline", "print", "range", "repr", "sh", "str", "ttl", "wait"}
	if diff := cmp.Diff(want, visible); diff != "" {
		t.Errorf("functions (-want +got):\n%s", diff)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("a = sh(\"x\")\npipeline(\"ci\", a.sh(\"y\", cache = [ttl(\"1h\"), forever()]), wait(a))")
	f.Add("def f(x):\n  return [x * 3, \"%s\" % x, \"{}\".format(x), \",\".join([x])]\nf(\"a\")")
	f.Add("load(\"ci.star\", \"x\")")
	f.Add("x = 1\nx %= 2\nx *= 3\nprint(x, [y for y in range(3) if y % 2])")
	small := limits{steps: 100_000, heap: 256 << 20, source: 1 << 16, loads: 4, defined: 1000, elements: 10_000, text: 100_000, grace: time.Second}
	f.Fuzz(func(t *testing.T, text string) {
		root := openRoot(t, project(t, map[string]string{"ci.star": text}))
		pipelines, err := load(context.Background(), root, []string{"ci.star"}, func(string) {}, small)
		if err != nil && strings.Contains(err.Error(), "interpreter failed") {
			t.Fatal(err)
		}
		for _, p := range pipelines {
			if _, err := pipeline.Decode(pipeline.Encode(p)); err != nil {
				t.Fatal(err)
			}
		}
	})
}
