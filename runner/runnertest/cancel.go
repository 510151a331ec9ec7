package runnertest

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/strata-ci/strata/runner"
)

// How a step is ended before its time: all of its processes are asked to
// terminate, and killed when the grace is over. The end of a test looks for
// processes that are left, so that a test need not.
var cancelTests = []test{
	{name: "before the start runs nothing", fn: func(c *check) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		o := c.startWith(ctx, cancel, step{sh: "echo ran"}).wait()
		c.wantCancelled(o)
		c.equal("output", o.stdout, "")
	}},
	{name: "returns the context's error", fn: func(c *check) {
		c.wantCancelled(c.cancelWhenReady("echo ready; sleep 1000"))
		ctx, cancel := context.WithTimeout(context.Background(), timeLimit)
		o := c.startWith(ctx, cancel, step{sh: "sleep 1000"}).wait()
		if !errors.Is(o.err, context.DeadlineExceeded) {
			c.Errorf("got %v, want context.DeadlineExceeded", o)
		}
	}},
	{name: "lets a command end by itself", fn: func(c *check) {
		o := c.cancelWhenReady(`trap 'sleep 0.2; echo cleaned up; exit 0' TERM; echo ready; while :; do sleep 1; done`)
		c.wantCancelled(o)
		c.equal("output", o.stdout, "ready\ncleaned up\n")
	}},
	{name: "lets every process end by itself", fn: func(c *check) {
		// The shell itself dies at once; the others still have their time.
		o := c.cancelWhenReady(`(trap 'sleep 0.2; echo cleaned up; exit 0' TERM; echo ready; while :; do sleep 1; done) & wait`)
		c.wantCancelled(o)
		c.equal("output", o.stdout, "ready\ncleaned up\n")
	}},
	{name: "ends grandchildren", fn: func(c *check) {
		c.wantCancelled(c.cancelWhenReady(`sh -c 'sh -c "sleep 1000 & sleep 1000 & echo ready; wait"; true'; true`))
	}},
	{name: "ends processes that left their group and session", fn: func(c *check) {
		c.need(c.props.Daemons, "Daemons")
		c.wantCancelled(c.cancelWhenReady(makeDaemons + "echo ready; sleep 1000"))
	}},
	{name: "ends stopped processes", grace: shortGrace, fn: func(c *check) {
		c.need(c.props.Signals, "Signals")
		c.wantCancelled(c.cancelWhenReady(`sleep 1000 & kill -STOP $!; echo ready; wait`))
	}},
	{name: "kills what ignores it after the grace", grace: shortGrace, fn: func(c *check) {
		c.wantCancelled(c.cancelWhenReady(`trap '' TERM; echo ready; while :; do sleep 1; done`))
	}},
	{name: "kills daemons that ignore it after the grace", grace: shortGrace, fn: func(c *check) {
		c.need(c.props.Daemons, "Daemons")
		c.wantCancelled(c.cancelWhenReady("trap '' TERM; " + makeDaemons + "echo ready; sleep 1000"))
	}},
	{name: "kills processes that go on starting others", grace: shortGrace, fn: func(c *check) {
		c.wantCancelled(c.cancelWhenReady(`trap '' TERM
			spawn() { while :; do sleep 1000 & sleep 0.01; done; }
			spawn & spawn & spawn & echo ready; wait`))
	}},
	{name: "kills at once when Kill is closed", fn: func(c *check) {
		r := c.start(step{sh: `trap 'echo asked' TERM; echo ready; while :; do sleep 1; done`})
		r.await("ready\n")
		r.cancel()
		r.await("asked\n")
		r.kill()
		c.wantCancelled(r.wait())
	}},
	{name: "kills at once when Kill was closed before", fn: func(c *check) {
		r := c.start(step{sh: `trap '' TERM; echo ready; while :; do sleep 1; done`})
		r.await("ready\n")
		r.kill()
		r.cancel()
		c.wantCancelled(r.wait())
	}},
	{name: "works at any moment", fn: func(c *check) {
		c.parallel(100, func(i int) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i)*200*time.Microsecond)
			o := c.startWith(ctx, cancel, step{sh: "sleep 0.01 & sleep 0.01; echo done"}).wait()
			passed := o.err == nil && o.Passed() && o.stdout == "done\n"
			if !passed && !errors.Is(o.err, context.DeadlineExceeded) {
				c.Errorf("cancelled after %d × 200 µs: got %v, want a whole step or context.DeadlineExceeded", i, o)
			}
		})
	}},
	{name: "commits nothing", fn: func(c *check) {
		ref := c.commitRef()
		r := c.start(step{sh: `trap 'exit 0' TERM; echo ready; while :; do sleep 1; done`, commit: ref})
		r.await("ready\n")
		r.cancel()
		o := r.wait()
		c.wantCancelled(o)
		c.wantInfra(c.do(step{sh: "true", parent: ref}), runner.KindSnapshot)
	}},
	{name: "a time limit ends the command and is no error", fn: func(c *check) {
		o := c.do(step{sh: "echo start; sleep 1000", timeout: timeLimit})
		if o.err != nil || !o.TimedOut || o.Passed() || c.props.Signals && (o.ExitCode != -1 || o.Signal != "SIGTERM") {
			c.Errorf("got %v, want timed out by SIGTERM", o)
		}
		c.equal("output", o.stdout, "start\n")
	}},
	{name: "a time limit leaves the command its own exit code", fn: func(c *check) {
		c.need(c.props.Signals, "Signals")
		for _, code := range []int{0, 3} {
			script := `trap 'echo late; exit ` + strconv.Itoa(code) + `' TERM; while :; do sleep 1; done`
			o := c.do(step{sh: script, timeout: timeLimit})
			if o.err != nil || !o.TimedOut || o.Passed() || o.ExitCode != code || o.Signal != "" || o.stdout != "late\n" {
				c.Errorf("got %v, want timed out with exit code %d", o, code)
			}
		}
	}},
	{name: "a time limit kills what ignores it", grace: shortGrace, fn: func(c *check) {
		o := c.do(step{sh: `trap '' TERM; sleep 1000 & while :; do sleep 1; done`, timeout: timeLimit})
		if o.err != nil || !o.TimedOut || c.props.Signals && o.Signal != "SIGKILL" {
			c.Errorf("got %v, want timed out by SIGKILL", o)
		}
	}},
	{name: "a time limit that is not reached changes nothing", fn: func(c *check) {
		if o := c.do(step{sh: "exit 7", timeout: time.Hour}); o.err != nil || o.TimedOut || o.ExitCode != 7 {
			c.Errorf("got %v, want exit code 7", o)
		}
	}},
	{name: "a step that timed out commits nothing", fn: func(c *check) {
		ref := c.commitRef()
		o := c.do(step{sh: `trap 'exit 0' TERM; while :; do sleep 1; done`, timeout: timeLimit, commit: ref})
		if o.err != nil || !o.TimedOut || o.Snapshot != "" {
			c.Errorf("got %v, want timed out and no snapshot", o)
		}
		c.wantInfra(c.do(step{sh: "true", parent: ref}), runner.KindSnapshot)
	}},
	{name: "the command's own end ends what it left in the background", fn: func(c *check) {
		o := c.do(step{sh: "trap '' TERM; sleep 1000 & (sleep 1000 & sleep 1000 &); exit 7"})
		if o.err != nil || o.ExitCode != 7 || o.TimedOut {
			c.Errorf("got %v, want exit code 7", o)
		}
	}},
	{name: "the command's own end ends its daemons", fn: func(c *check) {
		c.need(c.props.Daemons, "Daemons")
		if o := c.do(step{sh: makeDaemons + "exit 7"}); o.err != nil || o.ExitCode != 7 {
			c.Errorf("got %v, want exit code 7", o)
		}
	}},
}

// timeLimit leaves a script time to set its traps, also on a slow machine.
const timeLimit = time.Second

// makeDaemons starts processes that have left their parent and, by coreutils'
// timeout, their process group, or, where there is setsid, their session. They
// run when it is done.
const makeDaemons = `
	(timeout 1000 sh -c 'echo > daemon1; exec sleep 1000' > /dev/null 2>&1 < /dev/null &)
	if command -v setsid > /dev/null; then
		(setsid sh -c '(echo > daemon2; exec sleep 1000) & exit 0' > /dev/null 2>&1 < /dev/null &)
	else
		echo > daemon2
	fi
	while [ ! -e daemon1 ] || [ ! -e daemon2 ]; do sleep 0.01; done
	`

// cancelWhenReady cancels a script when it has written "ready".
func (c *check) cancelWhenReady(script string) outcome {
	c.Helper()
	r := c.start(step{sh: script})
	r.await("ready\n")
	r.cancel()
	return r.wait()
}

// wantCancelled checks that the outcome is a cancelled context's and nothing else.
func (c *check) wantCancelled(o outcome) {
	c.Helper()
	var infra *runner.InfraError
	if !errors.Is(o.err, context.Canceled) || errors.As(o.err, &infra) {
		c.Errorf("got %v, want context.Canceled", o)
	}
	if o.Snapshot != "" || o.TimedOut {
		c.Errorf("got %v, want no snapshot and no time limit", o)
	}
}

// commitRef returns a snapshot to build if the runner makes any.
func (c *check) commitRef() runner.SnapshotRef {
	c.need(c.props.Snapshots, "Snapshots")
	return c.ref()
}
