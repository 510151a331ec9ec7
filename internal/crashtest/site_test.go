//go:build linux && faults

package crashtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// pipelines has steps that are cached and steps that are not, a fork, both
// runners, and a pipeline that fails. Every step that is not cached prints what
// its parents left, so that a wrong hit above it shows.
const pipelines = `
a = sh("cat a.txt > a.out; mkdir -p many; for i in 1 2 3 4 5 6 7 8; do cat a.txt > many/$i; done", name = "a", cache = on_change("a.txt"))
b = a.sh("cat a.out b.txt | sha256sum > b.out", name = "b", cache = on_change("b.txt"))
left = b.sh("cat b.out c.txt > left.out", name = "left", cache = on_change("c.txt"))
look = left.sh("cat a.out b.out left.out many/8", name = "look")
right = b.sh("cat b.out c.txt", name = "right", cache = on_change("c.txt"))
h = sh("cat c.txt > h.out", name = "h", runner = "host", cache = on_change("c.txt"))
hello = h.sh("cat h.out b.txt", name = "hello", runner = "host", after = [b])
pipeline("good", look, right, hello, env = {"CRASHTEST": "MARK"})

bad = a.sh("cat a.out; exit 7", name = "bad")
pipeline("bad", bad, env = {"CRASHTEST": "MARK"})
`

// markVariable marks all processes of a site, in their environment.
const markVariable = "CRASHTEST"

// site is a project with a state directory of its own. Its state is that which
// all crashes so far have left.
type site struct {
	testing.TB
	strata  string // the program
	project string
	home    string
	mark    string // the value of markVariable in all processes
	files   map[string]string
	env     []string // of all commands
	edits   int
	killed  []int // processes whose control groups are to be gone
	hits    int   // cached steps of many runs at once
}

var sites atomic.Int64

// newSite makes a project. State and project lie in memory where that is
// possible: what is tested here is not how a disk syncs.
func newSite(t testing.TB) *site {
	t.Helper()
	dir, err := os.MkdirTemp(scratch(), "crash-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return newSiteIn(t, dir, filepath.Join(dir, "state"))
}

func newSiteIn(t testing.TB, dir, home string) *site {
	t.Helper()
	s := &site{
		TB: t, strata: program(t), project: filepath.Join(dir, "project"), home: home,
		mark: fmt.Sprintf("%d.%d", os.Getpid(), sites.Add(1)), files: map[string]string{},
	}
	s.write(".strata/ci.star", strings.ReplaceAll(pipelines, "MARK", s.mark))
	for _, name := range []string{"a.txt", "b.txt", "c.txt"} {
		s.edit(name)
	}
	return s
}

func scratch() string {
	const memory = "/dev/shm"
	if f, err := os.CreateTemp(memory, "crash-"); err == nil {
		f.Close()
		os.Remove(f.Name())
		return memory
	}
	return os.TempDir()
}

func (s *site) write(name, text string) {
	s.Helper()
	path := filepath.Join(s.project, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		s.Fatal(err)
	}
}

// edit gives a file contents that it never had.
func (s *site) edit(name string) {
	s.Helper()
	s.edits++
	s.files[name] = fmt.Sprintf("%s %d\n", name, s.edits)
	s.write(name, s.files[name])
}

// forget makes the next run the first one.
func (s *site) forget() {
	s.Helper()
	if err := os.RemoveAll(s.home); err != nil {
		s.Fatal(err)
	}
}

// command is strata in the project, with additions to its environment.
func (s *site) command(ctx context.Context, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.strata, args...)
	cmd.Dir = s.project
	cmd.Env = append(os.Environ(), "STRATA_HOME="+s.home, markVariable+"="+s.mark)
	cmd.Env = append(append(cmd.Env, s.env...), env...)
	return cmd
}

// outcome is how a process of strata ended.
type outcome struct {
	args   []string
	code   int // -1 where a signal ended it
	signal syscall.Signal
	events []event
	stdout string
	stderr string
}

func (o outcome) killed() bool { return o.signal == syscall.SIGKILL }

func (o outcome) String() string {
	return fmt.Sprintf("strata %s: exit code %d, %v\n%s%s", strings.Join(o.args, " "), o.code, o.signal, o.stdout, o.stderr)
}

// event is what of a run's events is looked at here.
type event struct {
	Type    string `json:"type"`
	Step    string `json:"step"`
	Status  string `json:"status"`
	Text    string `json:"text"`
	Message string `json:"message"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// patience is how long a process may take before it counts as hanging.
const patience = time.Minute

// run runs strata to its end.
func (s *site) run(env []string, args ...string) outcome {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := s.command(ctx, env, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.Fatal(err)
	}
	o := s.outcome(cmd, args, stdout.String(), stderr.String())
	if ctx.Err() != nil {
		s.Fatalf("it hangs: %v", o)
	}
	return o
}

func (s *site) outcome(cmd *exec.Cmd, args []string, stdout, stderr string) outcome {
	o := outcome{args: args, code: cmd.ProcessState.ExitCode(), stdout: stdout, stderr: stderr}
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		o.signal = status.Signal()
		s.killed = append(s.killed, cmd.Process.Pid)
	}
	for line := range strings.Lines(stdout) {
		var e event
		if json.Unmarshal([]byte(line), &e) == nil {
			o.events = append(o.events, e)
		}
	}
	return o
}

// output is what the steps of a run printed.
func (o outcome) output() map[string]string {
	output := map[string]string{}
	for _, e := range o.events {
		if e.Type == "step_output" {
			output[e.Step] += e.Text
		}
	}
	return output
}

// want is what the steps that are not cached have to print.
func (s *site) want(pipeline string) map[string]string {
	a, b, c := s.files["a.txt"], s.files["b.txt"], s.files["c.txt"]
	if pipeline == "bad" {
		return map[string]string{"bad": a}
	}
	digest := sha256.Sum256([]byte(a + b))
	sum := hex.EncodeToString(digest[:]) + "  -\n"
	return map[string]string{"look": a + sum + sum + c + a, "right": sum + c, "hello": c + b}
}

// verdict is the exit code that a pipeline has to end with.
func verdict(pipeline string) int {
	if pipeline == "bad" {
		return 1
	}
	return 0
}

// check says what is wrong with a run that nothing disturbed.
func (s *site) check(pipeline string, o outcome) error {
	if o.code != verdict(pipeline) {
		return fmt.Errorf("the verdict is wrong: %v", o)
	}
	if err := s.checkOutput(pipeline, o); err != nil {
		return err
	}
	got := o.output()
	for step, want := range s.want(pipeline) {
		if got[step] != want && step != "right" { // which may be cached
			return fmt.Errorf("the step %s prints %q, not %q: %v", step, got[step], want, o)
		}
	}
	return nil
}

// checkOutput says what is wrong with what steps printed, as far as they came.
func (s *site) checkOutput(pipeline string, o outcome) error {
	want := s.want(pipeline)
	for step, got := range o.output() {
		full := strings.Contains(got, "No space left on device") // so says the step
		if !full && !strings.HasPrefix(want[step], got) {
			return fmt.Errorf("the step %s prints %q, not %q: %v", step, got, want[step], o)
		}
	}
	if strings.Contains(o.stderr, "panic:") || strings.Contains(o.stderr, "goroutine ") {
		return fmt.Errorf("it panics: %v", o)
	}
	return nil
}

// again is what every crash is followed by: the next run has to be right, and
// to leave nothing that the crash did.
func (s *site) again(pipeline, after string) {
	s.Helper()
	s.rightRun(pipeline, after)
	s.clean(after)
}

func (s *site) rightRun(pipeline, after string) {
	s.Helper()
	if err := s.check(pipeline, s.run(nil, runArgs(pipeline)...)); err != nil {
		s.Fatalf("%s: the next run: %v", after, err)
	}
}

func runArgs(pipeline string) []string {
	return []string{"run", pipeline, "--format", "json", "-j", "2"}
}
