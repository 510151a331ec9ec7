// Package runnertest is the conformance suite of the runner contract. A
// runner's own test file is one call to [Run].
//
// In: a function that makes a fresh runner, and what it can do. Out: a subtest
// for each promise of the contract. It never looks into a runner: what it
// cannot see through the contract, it asks [Properties] for.
//
// The suite is also the contract's long form. Each theme has a file: how a
// command ends (exit.go), what it writes (output.go), what it sees (env.go), how
// it is ended (cancel.go), what its children inherit (inherit.go), how snapshots
// live (snapshot.go), how kept ones outlive the run (keep.go), what is left of a
// failure (failed.go) and how an image is told from another (identify.go). A subtest's name is a promise; its body is an
// example. Scripts are POSIX sh and use only coreutils.
package runnertest

import (
	"os"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/strata-ci/strata/runner"
)

// Factory makes a runner for one test, with a state of its own and the given
// time between asking a step's processes to terminate and killing them. It
// releases what the runner holds by t.Cleanup. A runner that is an io.Closer can
// be closed twice.
type Factory func(t testing.TB, grace time.Duration) runner.StepRunner

// Properties tell what applies to a runner. What is false or nil is skipped, and
// the skip says so.
type Properties struct {
	// Signals: a command's death by a signal can be seen.
	Signals bool
	// Daemons: a process ends with its step although it left its parent, its
	// process group and its session.
	Daemons bool
	// Snapshots: the runner commits snapshots and starts steps from them.
	Snapshots bool
	// Modes, Symlinks, HardLinks and FIFOs: these survive in a snapshot.
	Modes, Symlinks, HardLinks, FIFOs bool
	// Root is a directory outside the workspace that steps can write to and
	// that is part of a snapshot, but never of the machine; "" for none.
	Root string
	// Adds names the variables that the runner adds to an environment without
	// them, other than PATH and HOME.
	Adds []string
	// Leftovers lists what a runner holds of the machine: processes, mounts,
	// directories, control groups. After a test it must return what it did
	// before. Processes on this machine are looked for in any case.
	Leftovers func(runner.StepRunner) []string
	// Usage returns the bytes on disk that a runner's snapshots occupy.
	Usage func(runner.StepRunner) int64
	// Reopen returns another runner over the state of r, which may live on, as
	// another process would have it.
	Reopen func(t testing.TB, r runner.StepRunner) runner.StepRunner
	// Damage damages a part of a kept snapshot in a way that a check of that
	// depth finds and one of a lesser depth cannot find. The part holds a file
	// that is not empty.
	Damage func(t testing.TB, r runner.StepRunner, part string, depth runner.CheckDepth)
}

// Run holds the runners that factory makes against the contract.
func Run(t *testing.T, factory Factory, props Properties) {
	s := &suite{factory: factory, props: props}
	// A caller's environment, mask, open files and temporary directory are no
	// business of a step: all are made remarkable.
	t.Setenv(leakVariable, "leaked")
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	restore := disturbProcess(t)
	before := goleak.IgnoreCurrent()
	t.Run("suite", func(t *testing.T) {
		for _, theme := range []struct {
			name    string
			applies bool
			tests   []test
		}{
			{"exit", true, exitTests},
			{"output", true, outputTests},
			{"env", true, envTests},
			{"cancel", true, cancelTests},
			{"inherit", props.Snapshots, inheritTests},
			{"snapshot", props.Snapshots, snapshotTests},
			{"keep", props.Snapshots, keepTests},
			{"failed", props.Snapshots, failedTests},
			{"identify", true, identifyTests},
		} {
			t.Run(theme.name, func(t *testing.T) {
				if !theme.applies {
					t.Skip("the runner does not declare Properties.Snapshots")
				}
				for _, tt := range theme.tests {
					t.Run(tt.name, func(t *testing.T) { s.run(t, tt) })
				}
			})
		}
	})
	restore()
	if err := goleak.Find(before); err != nil {
		t.Errorf("the runner left goroutines: %v", err)
	}
	for _, z := range zombies() {
		t.Errorf("the runner left a child that it did not wait for: %s", z)
	}
	if left := names(t, tmp); len(left) > 0 {
		t.Errorf("the runner left files in the temporary directory: %q", left)
	}
}

const leakVariable = "STRATA_RUNNERTEST_LEAK"

// suite is one call of Run.
type suite struct {
	factory Factory
	props   Properties
	count   atomic.Int64 // makes names unique
}

// test is one promise of the contract.
type test struct {
	name  string
	fn    func(*check)
	grace time.Duration // longGrace if 0
}

const (
	// longGrace is never waited for by a runner that keeps the contract.
	longGrace = time.Hour
	// shortGrace is for tests that want it to be over. It is also the time
	// that a script has between its "ready" and the kill.
	shortGrace = 100 * time.Millisecond
	// patience bounds an Execute that hangs. It is far longer than any takes.
	patience = 3 * time.Minute
)

func (s *suite) run(t *testing.T, tt test) {
	t.Parallel()
	if tt.grace == 0 {
		tt.grace = longGrace
	}
	c := &check{T: t, props: s.props, suite: s, marker: s.unique(), workspace: map[runner.SnapshotRef]runner.Workspace{}}
	c.runner = s.factory(t, tt.grace)
	before := c.leftovers()
	tt.fn(c)
	c.reapAll()
	if after := c.leftovers(); !t.Failed() {
		for _, l := range added(before, after) {
			t.Errorf("left behind: %s", l)
		}
	}
	for _, p := range processesWith(markerVariable + "=" + c.marker) {
		t.Errorf("a process outlived its step: %s", p)
	}
}

// added returns the elements of after that are not in before.
func added(before, after []string) []string {
	known := map[string]bool{}
	for _, b := range before {
		known[b] = true
	}
	var out []string
	for _, a := range after {
		if !known[a] {
			out = append(out, a)
		}
	}
	return out
}

func names(t testing.TB, dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}
