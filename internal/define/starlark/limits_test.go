package starlark

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/strata-ci/strata/internal/define/source"
)

// TestTooMuchAtOnce has operations of which each would make at least gigabytes.
func TestTooMuchAtOnce(t *testing.T) {
	const big = "s = \"x\" * 10000000\nd = [1]\nfor i in range(60): d = [d, d]\n"
	for text, want := range map[string]string{
		`"x" * 1000000000`:                            "the result of string * int is too large",
		`1000000000 * "x"`:                            "the result of int * string is too large",
		`b"x" * 1000000000`:                           "the result of bytes * int is too large",
		`[0] * 500000000`:                             "the result of list * int is too large",
		`(0,) * (1 << 100)`:                           "the result of tuple * int is too large",
		"x = [0]\nx *= 500000000":                     "the result of list * int is too large",
		"x = 1 << 500\nfor i in range(60): x = x * x": "the result of int * int is too large",
		"for i in range(60): s = s + s":               "what is added is too large",
		"for i in range(60): s += s":                  "what is added is too large",
		"l = [0]\nfor i in range(60): l += l":         "what is added is too large",
		`list(range(1000000000))`:                     "the range is too large",
		`s.replace("", s)`:                            "the result of replace is too large",
		`s.join([s] * 1000)`:                          "the result of join is too large",
		`getattr(s, "join")([s] * 1000)`:              "the result of join is too large",
		`("{0}" * 1000).format(s)`:                    "the result of format is too large",
		`("{a}" * 1000).format(a = s)`:                "the result of format is too large",
		`("%(a)s" * 1000) % {"a": s}`:                 "the formatted string is too large",
		"f = \"%(a)s\" * 1000\nf %= {\"a\": s}":       "the formatted string is too large",
		`str(d)`:                                      "the text of str is too large",
		`repr(d)`:                                     "the text of repr is too large",
		`print(d)`:                                    "the text of print is too large",
		`fail(d)`:                                     "the text of fail is too large",
		`"%s" % [d]`:                                  "the formatted string is too large",
		`"{}".format(d)`:                              "the result of format is too large",
		`sh("x", runner_args = {"d": d})`:             `sh: argument "runner_args" is nested too deep or too large`,
		`sh("x", after = d)`:                          `sh: argument "after": lists are nested too deep`,
	} {
		_, err := loadText(t, big+text)
		var located *source.Error
		if !errors.As(err, &located) || !strings.HasPrefix(located.Message, want) || located.Pos.Line < 4 {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestEndlessLoop(t *testing.T) {
	_, err := loadText(t, "def spin():\n    for i in range(1000000):\n        for j in range(1000000):\n            pass\n\nspin()")
	if err == nil {
		t.Fatal("no error")
	}
	got := err.Error()
	for _, want := range []string{
		"ci.star:", ": stopped after 50 million instructions: is there a loop without end?",
		"for j in range(1000000)", "called from ci.star:6:1",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the message has no %q:\n%s", want, got)
		}
	}
}

func TestGrowingMemory(t *testing.T) {
	small := defaultLimits
	small.heap = 64 << 20
	for name, text := range map[string]string{
		"append": "l = []\nfor i in range(1000000):\n    l.append(\"x\" * 10000 + str(i))\n",
		"string": "s = \"x\" * 10000000\nfor i in range(1000000):\n    s = s + \"y\" * 10000000\n",
		"extend": "l = [0]\nfor i in range(40):\n    l.extend(l)\n",
	} {
		root := openRoot(t, project(t, map[string]string{"ci.star": text}))
		_, err := load(context.Background(), root, []string{"ci.star"}, func(string) {}, small)
		if err == nil || !strings.Contains(err.Error(), "stopped because it uses more than 64.0 MiB of memory: is something growing without end?") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTooManySteps(t *testing.T) {
	small := defaultLimits
	small.defined = 3
	root := openRoot(t, project(t, map[string]string{"ci.star": "pipeline(\"ci\", *[sh(\"x\") for i in range(4)])"}))
	_, err := load(context.Background(), root, []string{"ci.star"}, func(string) {}, small)
	if err == nil || !strings.HasPrefix(err.Error(), "ci.star:1:18: sh: more than 3 steps\n") {
		t.Error(err)
	}
}

func TestLoadsTooDeep(t *testing.T) {
	files := make(map[string]string)
	for i := range 100 {
		files[fmt.Sprintf("f%d.star", i)] = fmt.Sprintf("load(\"f%d.star\", \"x\")", i+1)
	}
	_, err := loadFiles(t, files, "f0.star")
	if err == nil || !strings.HasPrefix(err.Error(), "f63.star:1:1: files load each other more than 64 deep\n") {
		t.Error(err)
	}
}

func TestContextEndsAnEndlessLoop(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	endless := defaultLimits
	endless.steps = 1 << 62
	root := openRoot(t, project(t, map[string]string{"ci.star": "print(1)\nfor i in range(1000000):\n    for j in range(1000000):\n        pass\n"}))
	_, err := load(ctx, root, []string{"ci.star"}, func(string) { cancel() }, endless)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want one of the context", err)
	}
}

// A built-in operation that does not end cannot be stopped, only left behind.
func TestContextEndsAnEndlessOperation(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	// Comparing looks at 40^9 pairs, which takes weeks, within the depth that
	// is allowed. The test ends the process, and the comparison with it.
	const text = "def tree():\n    t = 1\n    for i in range(9): t = [t] * 40\n    return t\na = tree()\nb = tree()\nprint(1)\na == b\n"
	root := openRoot(t, project(t, map[string]string{"ci.star": text}))
	impatient := defaultLimits
	impatient.grace = 10 * time.Millisecond
	_, err := load(ctx, root, []string{"ci.star"}, func(string) { cancel() }, impatient)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want one of the context", err)
	}
}

func TestManyStepsAreLoadedInReasonableTime(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // far more than a linear algorithm takes
	defer cancel()
	root := openRoot(t, project(t, map[string]string{"ci.star": `
last = sh("make all")
steps = [last]
for i in range(50000 - 1):
    last = last.sh("make all", after = steps[:2])
    steps.append(last)
pipeline("ci", last)
`}))
	pipelines, err := Load(ctx, root, []string{"ci.star"}, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	steps := pipelines[0].Steps
	if last := steps[len(steps)-1]; len(steps) != 50000 || last.Name != "make-all-50000" || last.BuildsIn != "make-all-49999" {
		t.Errorf("%d steps, the last is %+v", len(steps), last)
	}
}
