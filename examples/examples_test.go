// Package examples tests the projects beside it with Strata itself.
package examples

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// An example is a project, with a change that breaks one of its tests.
type example struct {
	dir    string
	needs  []string // commands, in the system's own directories
	steps  []string
	output []string // lines that its steps print

	file, right, wrong string // in file, wrong instead of right
	failing, message   string // the step that fails then, and what it prints
}

var all = []example{
	{
		dir: "go", needs: []string{"go"},
		steps:  []string{"build", "test", "vet", "smoke"},
		output: []string{"smoke |     2 be", "test | ok"},
		file:   "tally_test.go", right: `{"b", 1}`, wrong: `{"b", 3}`,
		failing: "test", message: `Words("b a\nA") = [{a 2} {b 1}], <nil>; want [{a 2} {b 3}]`,
	},
	{
		dir: "c", needs: []string{"cmake", "ctest", "cc"},
		steps:  []string{"configure", "build", "test", "install", "sanitize"},
		output: []string{"install | MCMXCIV", "test | 100% tests passed"},
		file:   "tests/roman_test.c", right: `"MCMXCIV") == 0`, wrong: `"MCMXCVI") == 0`,
		failing: "test", message: "FAIL: 1994 is MCMXCIV",
	},
	{
		dir: "node", needs: []string{"node"},
		steps:  []string{"check", "build", "test", "smoke"},
		output: []string{`smoke | [{"city":"Bern","country":"Switzerland"}]`, "test | ✔ quoted fields"},
		file:   "test/csv.test.js", right: `age: "36"`, wrong: `age: "37"`,
		failing: "test", message: "✖ objects take their keys from the header",
	},
	{
		dir: "python", needs: []string{"python3"},
		steps:  []string{"build", "test", "compile", "smoke"},
		output: []string{"smoke | hello-world-2", "test | OK"},
		file:   "tests/test_slugs.py", right: `"hello-world-42"`, wrong: `"hello-world-43"`,
		failing: "test", message: "AssertionError: 'hello-world-42' != 'hello-world-43'",
	},
}

// strata is the program under test.
var strata string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "strata-examples-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	strata = filepath.Join(dir, "strata")
	if runtime.GOOS == "windows" {
		strata += ".exe"
	}
	build := exec.Command("go", "build", "-o", strata, "../cmd/strata")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build strata: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

func TestPass(t *testing.T) {
	for _, e := range all {
		t.Run(e.dir, func(t *testing.T) {
			e.require(t)
			code, output := runIn(t, e.dir)
			if code != 0 {
				t.Errorf("exit code %d, want 0", code)
			}
			for _, step := range e.steps {
				e.want(t, output, step+": passed in ")
			}
			for _, line := range e.output {
				e.want(t, output, line)
			}
			e.want(t, output, fmt.Sprintf("ci passed: %d steps in ", len(e.steps)))
		})
	}
}

func TestFail(t *testing.T) {
	for _, e := range all {
		t.Run(e.dir, func(t *testing.T) {
			e.require(t)
			dir := filepath.Join(t.TempDir(), e.dir)
			if err := os.CopyFS(dir, os.DirFS(e.dir)); err != nil {
				t.Fatal(err)
			}
			e.breakTest(t, dir)
			code, output := runIn(t, dir, "--step", e.failing)
			if code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			e.want(t, output, e.failing+": failed: exit code ")
			e.want(t, output, e.message)
			e.want(t, output, "ci failed: ")
		})
	}
}

func (e example) require(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the commands of the examples are for Linux")
	}
	for _, name := range e.needs {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("install %s to run this example", name)
		}
	}
}

func (e example) breakTest(t *testing.T, dir string) {
	t.Helper()
	file := filepath.Join(dir, filepath.FromSlash(e.file))
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	broken := strings.Replace(string(text), e.right, e.wrong, 1)
	if broken == string(text) {
		t.Fatalf("%s does not have %s", file, e.right)
	}
	if err := os.WriteFile(file, []byte(broken), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (e example) want(t *testing.T, output, part string) {
	t.Helper()
	if !strings.Contains(output, part) {
		t.Errorf("the output lacks %q", part)
	}
}

// runIn runs the project's pipeline with a state directory of its own and
// returns the exit code and all that was printed. It shows that if the test fails.
func runIn(t *testing.T, dir string, args ...string) (int, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), strata, append([]string{"run", "-C", dir, "--format", "plain"}, args...)...)
	cmd.Env = append(os.Environ(), "STRATA_HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("strata run -C %s:\n%s", dir, out)
		}
	})
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}
