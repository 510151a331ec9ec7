package runnertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// check is one running test: a runner of its own and the means to use it.
type check struct {
	*testing.T
	runner runner.StepRunner
	props  Properties
	suite  *suite
	marker string // in the environment of all steps of the test

	mu        sync.Mutex
	refs      []runner.SnapshotRef                    // to be reaped
	workspace map[runner.SnapshotRef]runner.Workspace // of the steps that committed them
}

// markerVariable is in every step's environment, so that the step's processes
// can be found.
const markerVariable = "STRATA_RUNNERTEST"

// unique returns a name that no other test of this machine uses.
func (s *suite) unique() string {
	return fmt.Sprintf("rt-%d-%d-%d", os.Getpid(), time.Now().UnixNano(), s.count.Add(1))
}

// need skips the test unless the runner has the property.
func (c *check) need(has bool, property string) {
	c.Helper()
	if !has {
		c.Skipf("the runner does not declare Properties.%s", property)
	}
}

// step is one call of Execute. Its zero value runs nothing in an empty workspace
// and commits nothing.
type step struct {
	sh   string   // run by sh -e -c
	args []string // run as they are, instead of sh

	env       []string // added to the usual environment
	exactEnv  bool     // env is the whole environment
	dir       string
	workspace runner.Workspace // nil for the parent's: a run has one capture
	parent    runner.SnapshotRef
	commit    runner.SnapshotRef // to be built; see check.ref
	failed    runner.SnapshotRef // to be built if the command does not pass; if there is commit, the same
	hit       runner.SnapshotRef
	timeout   time.Duration

	stdout, stderr io.Writer // instead of the outcome's
}

// outcome is what Execute returned and what the step wrote.
type outcome struct {
	runner.StepResult
	err            error
	stdout, stderr string
}

func (o outcome) String() string {
	s := fmt.Sprintf("exit code %d", o.ExitCode)
	if o.Signal != "" {
		s += ", signal " + o.Signal
	}
	if o.TimedOut {
		s += ", timed out"
	}
	if o.Snapshot != "" {
		s += ", snapshot " + string(o.Snapshot)
	}
	if o.err != nil {
		s += fmt.Sprintf(", error %v (%T)", o.err, o.err)
	}
	return s + fmt.Sprintf(", stdout %s, stderr %s", clip(o.stdout), clip(o.stderr))
}

// clip quotes a text and leaves out the middle of a long one.
func clip(s string) string {
	const most = 2000
	if len(s) > most {
		return fmt.Sprintf("%q … %q (%d bytes)", s[:most/2], s[len(s)-most/2:], len(s))
	}
	return fmt.Sprintf("%q", s)
}

// do executes a step to its end.
func (c *check) do(s step) outcome {
	c.Helper()
	return c.start(s).wait()
}

// sh runs a script that must pass in an empty workspace, and returns its output.
func (c *check) sh(script string) string {
	c.Helper()
	return c.pass(step{sh: script})
}

// pass executes a step that must pass, and returns its standard output.
func (c *check) pass(s step) string {
	c.Helper()
	out, ok := c.try(s)
	if !ok {
		c.FailNow()
	}
	return out
}

// try is pass for goroutines, which must not end the test.
func (c *check) try(s step) (stdout string, ok bool) {
	c.Helper()
	o := c.do(s)
	if o.err != nil || !o.Passed() || o.Snapshot != s.commit {
		c.Errorf("got %v, want a step that passes with the snapshot %q; its script:\n%s", o, s.commit, s.sh)
		return o.stdout, false
	}
	return o.stdout, true
}

// build commits a step that must pass, and returns its snapshot.
func (c *check) build(s step) runner.SnapshotRef {
	c.Helper()
	s.commit = c.ref()
	c.pass(s)
	return s.commit
}

// in runs a script in a snapshot, commits nothing and returns its output.
func (c *check) in(parent runner.SnapshotRef, script string) string {
	c.Helper()
	return c.pass(step{parent: parent, sh: script})
}

// running is a step that was started.
type running struct {
	c              *check
	cancel         context.CancelFunc // cancels the step
	kill           func()             // closes StepContext.Kill
	stdout, stderr *sink
	done           chan struct{}
	result         runner.StepResult
	err            error
}

// start starts a step.
func (c *check) start(s step) *running {
	ctx, cancel := context.WithCancel(context.Background())
	return c.startWith(ctx, cancel, s)
}

func (c *check) startWith(ctx context.Context, cancel context.CancelFunc, s step) *running {
	kill := make(chan struct{})
	r := &running{
		c: c, cancel: cancel, kill: sync.OnceFunc(func() { close(kill) }),
		stdout: newSink(), stderr: newSink(), done: make(chan struct{}),
	}
	sc := &runner.StepContext{Stdout: r.stdout, Stderr: r.stderr, Notice: func(m string) { c.Log("notice:", m) }, Kill: kill}
	if s.stdout != nil {
		sc.Stdout = s.stdout
	}
	if s.stderr != nil {
		sc.Stderr = s.stderr
	}
	in := c.input(s)
	go func() {
		defer close(r.done)
		r.result, r.err = c.runner.Execute(ctx, sc, in)
		r.stdout.seal()
		r.stderr.seal()
	}()
	return r
}

func (c *check) input(s step) runner.ExecutorInput {
	cmd := pipeline.Command{Shell: s.sh, Args: s.args}
	env := append([]string{markerVariable + "=" + c.marker, "LC_ALL=C"}, s.env...)
	if s.exactEnv {
		env = s.env
	}
	in := runner.ExecutorInput{
		Step: pipeline.Step{Name: "step", Command: cmd},
		Env:  env, Dir: s.dir,
		RunID: c.marker, StepID: c.suite.unique(),
		Workspace: c.capture(s), Parent: s.parent, Timeout: s.timeout,
	}
	switch {
	case s.hit != "":
		in.Cache = runner.CacheDecision{Action: runner.Hit, Ref: s.hit}
	case s.commit != "":
		in.Cache = runner.CacheDecision{Action: runner.MissBuildAs, Ref: s.commit, KeepFailed: s.failed != ""}
	case s.failed != "":
		in.Cache = runner.CacheDecision{Action: runner.MissNoCommit, Ref: s.failed, KeepFailed: true}
	}
	return in
}

// capture returns the step's workspace and remembers it for the step's children.
func (c *check) capture(s step) runner.Workspace {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.workspace == nil {
		s.workspace = c.workspace[s.parent]
	}
	for _, ref := range []runner.SnapshotRef{s.commit, s.failed} {
		if ref != "" {
			c.workspace[ref] = s.workspace
		}
	}
	return s.workspace
}

// wait waits for Execute's return.
func (r *running) wait() outcome {
	r.c.Helper()
	defer r.cancel()
	select {
	case <-r.done:
	case <-time.After(patience):
		const hung = "the call of Execute has not returned for a very long time"
		r.c.Error(hung)
		return outcome{err: errors.New(hung), stdout: r.stdout.String(), stderr: r.stderr.String()}
	}
	if r.stdout.late.Load() || r.stderr.late.Load() {
		r.c.Error("output was written after Execute had returned")
	}
	return outcome{StepResult: r.result, err: r.err, stdout: r.stdout.String(), stderr: r.stderr.String()}
}

// await waits until the step has written text to its standard output.
func (r *running) await(text string) {
	r.c.Helper()
	limit := time.After(patience)
	for {
		changed := r.stdout.changed()
		if strings.Contains(r.stdout.String(), text) {
			return
		}
		select {
		case <-changed:
		case <-r.done:
			if strings.Contains(r.stdout.String(), text) {
				return
			}
			r.cancel()
			r.c.Fatalf("the step ended before it wrote %q: %v", text, r.wait())
		case <-limit:
			r.cancel()
			r.c.Fatalf("the step never wrote %q, only %s", text, clip(r.stdout.String()))
		}
	}
}

// sink keeps what is written to it.
type sink struct {
	mu     sync.Mutex
	data   strings.Builder
	bell   chan struct{} // closed by the next write
	sealed atomic.Bool
	late   atomic.Bool // something came after seal
}

func newSink() *sink { return &sink{bell: make(chan struct{})} }

func (s *sink) Write(p []byte) (int, error) {
	if s.sealed.Load() {
		s.late.Store(true)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.bell)
	s.bell = make(chan struct{})
	return s.data.Write(p)
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data.String()
}

func (s *sink) changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bell
}

func (s *sink) seal() { s.sealed.Store(true) }

// ref returns a new name for a snapshot, which is reaped at the test's end.
func (c *check) ref() runner.SnapshotRef {
	ref := runner.SnapshotRef(c.suite.unique())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refs = append(c.refs, ref)
	return ref
}

func (c *check) reapAll() {
	if len(c.refs) > 0 {
		c.reap(c.refs...)
	}
}

func (c *check) reap(refs ...runner.SnapshotRef) {
	c.Helper()
	reaper, ok := c.runner.(runner.SnapshotReaper)
	if !ok {
		c.Fatal("the runner makes snapshots and does not implement SnapshotReaper")
	}
	if err := reaper.ReapSnapshots(context.Background(), refs); err != nil {
		c.Errorf("ReapSnapshots(%q): %v", refs, err)
	}
}

func (c *check) leftovers() []string {
	if c.props.Leftovers == nil {
		return nil
	}
	return c.props.Leftovers(c.runner)
}

// wantInfra checks that the outcome is an infrastructure error of that kind.
func (c *check) wantInfra(o outcome, kind runner.InfraKind) {
	c.Helper()
	c.wantKind(o.String(), o.err, kind)
	if o.Snapshot != "" {
		c.Errorf("got the snapshot %q together with an error", o.Snapshot)
	}
}

// wantKind checks that what was got is an infrastructure error of that kind.
func (c *check) wantKind(got string, err error, kind runner.InfraKind) {
	c.Helper()
	var infra *runner.InfraError
	switch {
	case !errors.As(err, &infra):
		c.Errorf("got %s, want an *InfraError of kind %q", got, kind)
	case infra.Kind != kind:
		c.Errorf("got an InfraError of kind %q (%v), want kind %q", infra.Kind, infra, kind)
	case infra.Op == "" || infra.Err == nil:
		c.Errorf("got %#v: an InfraError says what was being done (Op) and why it failed (Err)", infra)
	}
}

// equal checks a text.
func (c *check) equal(what, got, want string) {
	c.Helper()
	if got != want {
		c.Errorf("%s: got %s, want %s", what, clip(got), clip(want))
	}
}
