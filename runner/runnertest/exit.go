package runnertest

import (
	"fmt"

	"github.com/strata-ci/strata/runner"
)

// How a command ends: its exit code is a result, its death by a signal is
// another, and only a failure to run it at all is an error.
var exitTests = []test{
	{name: "exit codes are results as they are", fn: func(c *check) {
		// 124, 130 and 137 are what others make of time limits and signals.
		for _, code := range []int{0, 1, 7, 124, 126, 127, 130, 137, 255} {
			o := c.do(step{sh: fmt.Sprintf("exit %d", code)})
			if o.err != nil || o.ExitCode != code || o.Signal != "" || o.TimedOut || o.OutOfMemory {
				c.Errorf("exit %d: got %v", code, o)
			}
			if o.Passed() != (code == 0) {
				c.Errorf("exit %d: Passed() is %v", code, o.Passed())
			}
		}
	}},
	{name: "death by a signal is a signal", fn: func(c *check) {
		c.need(c.props.Signals, "Signals")
		for _, name := range []string{"TERM", "KILL", "SEGV"} {
			o := c.do(step{sh: "ulimit -c 0; kill -" + name + " $$"})
			if o.err != nil || o.ExitCode != -1 || o.Signal != "SIG"+name || o.TimedOut || o.OutOfMemory {
				c.Errorf("kill -%s: got %v, want exit code -1 and signal SIG%s", name, o, name)
			}
		}
	}},
	{name: "the death of a shell's child is the shell's exit code", fn: func(c *check) {
		c.need(c.props.Signals, "Signals")
		o := c.do(step{sh: "sh -c 'kill -KILL $$'; exit 3"})
		if o.err != nil || o.ExitCode != 137 || o.Signal != "" {
			c.Errorf("got %v, want exit code 137 and no signal", o)
		}
	}},
	{name: "the shell stops at the first failure", fn: func(c *check) {
		o := c.do(step{sh: "echo one; false; echo two"})
		if o.err != nil || o.ExitCode != 1 || o.stdout != "one\n" {
			c.Errorf("got %v, want exit code 1 after the first line", o)
		}
	}},
	{name: "the shell's own failures are exit codes", fn: func(c *check) {
		o := c.do(step{sh: "strata-there-is-no-such-program"})
		if o.err != nil || o.ExitCode != 127 {
			c.Errorf("a missing program in a script: got %v, want exit code 127", o)
		}
	}},
	{name: "an argument list is run as it is", fn: func(c *check) {
		out := c.pass(step{args: []string{"printf", "[%s]", "a b", "", "*", "$HOME", "it's", `"`, "\n", "-n"}})
		c.equal("arguments", out, "[a b][][*][$HOME][it's][\"][\n][-n]")
	}},
	{name: "a program's path is relative to the step's directory", fn: func(c *check) {
		ws := newWorkspace(c, tree{
			{path: "sub/run", mode: 0o755, data: "#!/bin/sh\necho ran \"$1\"\n"},
		})
		c.equal("output", c.pass(step{args: []string{"./run", "x"}, dir: "sub", workspace: ws}), "ran x\n")
	}},
	{name: "a missing program is a start error", fn: func(c *check) {
		c.wantInfra(c.do(step{args: []string{"strata-there-is-no-such-program"}}), runner.KindStart)
		c.wantInfra(c.do(step{args: []string{"./no-such-file"}}), runner.KindStart)
		c.wantInfra(c.do(step{args: []string{"/no/such/file"}}), runner.KindStart)
	}},
	{name: "a file that cannot be executed is a start error", fn: func(c *check) {
		ws := newWorkspace(c, tree{
			{path: "plain", mode: 0o644, data: "text\n"},
			{path: "dir", mode: modeDir | 0o755},
			{path: "orphan", mode: 0o755, data: "#!/no/such/interpreter\n"},
		})
		for _, name := range []string{"./plain", "./dir", "./orphan"} {
			c.wantInfra(c.do(step{args: []string{name}, workspace: ws}), runner.KindStart)
		}
	}},
	{name: "a missing step directory is a start error", fn: func(c *check) {
		ws := newWorkspace(c, tree{{path: "file", mode: 0o644}})
		for _, dir := range []string{"no/such/dir", "file"} {
			c.wantInfra(c.do(step{sh: "true", dir: dir, workspace: ws}), runner.KindStart)
		}
	}},
	{name: "usage is never negative", fn: func(c *check) {
		o := c.do(step{sh: "i=0; while [ $i -lt 1000 ]; do i=$((i+1)); done"})
		if u := o.Usage; u.UserTime < 0 || u.SystemTime < 0 || u.PeakMemory < 0 {
			c.Errorf("got %+v", u)
		}
	}},
}
