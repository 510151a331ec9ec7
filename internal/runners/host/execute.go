package host

import (
	"context"
	"fmt"
	"time"

	"github.com/strata-ci/strata/runner"
)

// ending is how a command and its process tree have ended.
type ending struct {
	ExitCode int    // -1 if a signal ended it
	Signal   string // the name of that signal
	Usage    runner.Usage
	Left     []int // processes that nobody here may kill, such as sudo's
}

// runCommand starts the command, serves its output and ends it in time. It
// returns when its process tree is gone and its output is written.
func (r *Runner) runCommand(ctx context.Context, sc *runner.StepContext, cmd spec, timeout time.Duration, room *room) (runner.StepResult, error) {
	out, err := openOutput(sc)
	if err != nil {
		return runner.StepResult{}, runner.AsInfra("make the step's output pipes", err)
	}
	tree, err := startTree(cmd, out.stdout, out.stderr, room.lock)
	out.closeWriters()
	if err != nil {
		out.discard()
		return runner.StepResult{}, err
	}
	out.start()
	c := control{ctx: ctx, kill: sc.Kill, grace: r.grace, timeout: timeout}
	end, why, err := c.run(tree, out.failed)
	outErr := out.finish()
	result := runner.StepResult{ExitCode: end.ExitCode, Signal: end.Signal, Usage: end.Usage, TimedOut: why == timedOut}
	if len(end.Left) > 0 {
		sc.Notice(fmt.Sprintf("processes of the step belong to another user and go on running: %v", end.Left))
	}
	switch {
	case outErr != nil:
		return result, runner.AsInfra("write the step's output", outErr)
	case why == cancelled:
		return result, ctx.Err()
	default:
		return result, err
	}
}

// reason is why a command was ended before its time.
type reason int

const (
	notEnded reason = iota
	cancelled
	timedOut
	outputFailed
)

// control decides when a process tree is to end.
type control struct {
	ctx            context.Context
	kill           <-chan struct{}
	grace, timeout time.Duration
}

// run waits for the tree's end and brings it about when the context ends, the
// time is over or the output cannot be written. The first reason counts.
func (c control) run(tree *tree, failed <-chan struct{}) (ending, reason, error) {
	type waited struct {
		end ending
		err error
	}
	done := make(chan waited, 1)
	go func() {
		end, err := tree.wait()
		done <- waited{end, err}
	}()
	var timeout, grace <-chan time.Time
	if c.timeout > 0 {
		t := time.NewTimer(c.timeout)
		defer t.Stop()
		timeout = t.C
	}
	var kill <-chan struct{}
	why := notEnded
	terminate := func(because reason) {
		why = because
		tree.terminate()
		t := time.NewTimer(c.grace)
		grace, kill = t.C, c.kill
	}
	ctxDone := c.ctx.Done()
	for {
		select {
		case w := <-done:
			return w.end, why, w.err
		case <-ctxDone:
			ctxDone, timeout = nil, nil
			terminate(cancelled)
		case <-timeout:
			ctxDone, timeout = nil, nil
			terminate(timedOut)
		case <-failed:
			failed = nil
			if why == notEnded {
				why = outputFailed
			}
			tree.kill()
		case <-grace:
			tree.kill()
		case <-kill:
			kill = nil
			tree.kill()
		}
	}
}
