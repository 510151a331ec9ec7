package runnertest

import (
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/strata-ci/strata/runner"
)

// How snapshots live: made by a step that passes and only when asked for, never
// changed, gone when reaped.
var snapshotTests = []test{
	{name: "is made when asked for", fn: func(c *check) {
		ref := c.ref()
		o := c.do(step{sh: "echo x > file", commit: ref})
		if o.err != nil || o.Snapshot != ref {
			c.Fatalf("got %v, want the snapshot %s", o, ref)
		}
		c.equal("file", c.in(ref, "cat file"), "x\n")
	}},
	{name: "is not made when not asked for", fn: func(c *check) {
		if o := c.do(step{sh: "echo x > file"}); o.err != nil || o.Snapshot != "" {
			c.Errorf("got %v, want no snapshot", o)
		}
	}},
	{name: "is not made of a failure", fn: func(c *check) {
		for _, script := range []string{"exit 1", "kill -KILL $$"} {
			ref := c.ref()
			o := c.do(step{sh: script, commit: ref})
			if o.err != nil || o.Passed() || o.Snapshot != "" {
				c.Errorf("%s: got %v, want a failure without a snapshot", script, o)
			}
			c.wantInfra(c.do(step{sh: "true", parent: ref}), runner.KindSnapshot)
		}
	}},
	{name: "can be made after a failure", fn: func(c *check) {
		ref := c.ref()
		c.do(step{sh: "echo failed > file; exit 1", commit: ref})
		c.pass(step{sh: "test ! -e file; echo passed > file", commit: ref})
		c.equal("file", c.in(ref, "cat file"), "passed\n")
	}},
	{name: "that is hit runs nothing", fn: func(c *check) {
		ref := c.build(step{sh: "echo x > file"})
		o := c.do(step{sh: "echo ran; exit 1", hit: ref})
		if o.err != nil || !o.Passed() || o.Snapshot != ref || o.stdout != "" {
			c.Errorf("got %v, want a pass with the snapshot %s and no output", o, ref)
		}
		c.equal("file", c.in(ref, "cat file"), "x\n")
	}},
	{name: "that does not exist is a snapshot error", fn: func(c *check) {
		o := c.do(step{sh: "echo ran", parent: "no-such-snapshot"})
		c.wantInfra(o, runner.KindSnapshot)
		c.equal("output", o.stdout, "")
	}},
	{name: "never changes", fn: func(c *check) {
		parent := c.build(step{workspace: sources(c), sh: "echo x > file; mkdir d; echo y > d/in; chmod 640 file"})
		const look = "cat file d/in edit; ls -l file | cut -c1-10; ls"
		before := c.in(parent, look)
		c.in(parent, "echo changed > file; chmod 777 file; rm -r d edit; echo new > new; mkdir d; echo z > d/other")
		c.build(step{parent: parent, sh: "rm -r * .[!.]* 2>/dev/null || true; echo all gone > file"})
		c.equal("the parent's files", c.in(parent, look), before)
	}},
	{name: "of a sibling is not seen", fn: func(c *check) {
		parent := c.build(step{sh: "echo parent > file"})
		one := c.build(step{parent: parent, sh: "test ! -e two; echo one > file; echo > one"})
		two := c.build(step{parent: parent, sh: "test ! -e one; cat file >> two; rm file"})
		c.equal("one", c.in(one, "cat file; ls"), "one\nfile\none\n")
		c.equal("two", c.in(two, "cat two; ls"), "parent\ntwo\n")
	}},
	{name: "of siblings at the same time are apart", fn: func(c *check) {
		parent := c.build(step{sh: "echo parent > shared"})
		const siblings = 8
		var all []*running
		for i := range siblings {
			// Each waits for the end of its own loop and sees only itself.
			r := c.start(step{parent: parent, sh: fmt.Sprintf(`
				i=0; while [ $i -lt 50 ]; do echo %d >> shared; echo > mine%d; test "$(ls | wc -l)" -eq 2; i=$((i+1)); done
				sort -u shared`, i, i)})
			all = append(all, r)
		}
		for i, r := range all {
			if o := r.wait(); o.err != nil || o.stdout != fmt.Sprintf("%d\nparent\n", i) {
				c.Errorf("sibling %d: got %v", i, o)
			}
		}
	}},
	{name: "of many steps at once", fn: func(c *check) {
		root := c.build(step{sh: "echo root > root"})
		var wg sync.WaitGroup
		for i := range 32 {
			wg.Go(func() {
				ref := c.ref()
				if _, ok := c.try(step{parent: root, sh: fmt.Sprintf("cat root > file%d; echo %d >> file%d", i, i, i), commit: ref}); !ok {
					return
				}
				if out, ok := c.try(step{parent: ref, sh: "ls; cat file*"}); ok {
					c.equal("output", out, fmt.Sprintf("file%d\nroot\nroot\n%d\n", i, i))
				}
			})
		}
		wg.Wait()
	}},
	{name: "in a chain of 200 steps", fn: func(c *check) {
		// Step i makes the file i and removes the file i-3.
		const steps = 200
		refs := make([]runner.SnapshotRef, 0, steps)
		var parent runner.SnapshotRef
		for i := range steps {
			parent = c.build(step{parent: parent, sh: fmt.Sprintf("echo %d >> log; touch f%d; rm -f f%d", i, i, i-3)})
			refs = append(refs, parent)
		}
		for _, i := range []int{steps - 1, 63, 64, 65, 120, 2} {
			var log strings.Builder
			for j := range i + 1 {
				fmt.Fprintln(&log, j)
			}
			c.equal(fmt.Sprintf("log of step %d", i), c.in(refs[i], "cat log"), log.String())
			want := fmt.Sprintf("%d\n", 3)
			c.equal(fmt.Sprintf("number of files of step %d", i), c.in(refs[i], fmt.Sprintf("test -e f%d; ls f* | wc -l | tr -d ' '", i)), want)
		}
	}},
	{name: "is gone when it is reaped, also twice", fn: func(c *check) {
		ref := c.build(step{sh: "echo x > file"})
		other := c.build(step{sh: "echo y > file"})
		c.reap(ref)
		c.reap(ref, "no-such-snapshot", ref)
		c.reap()
		c.wantInfra(c.do(step{sh: "cat file", parent: ref}), runner.KindSnapshot)
		c.equal("another snapshot's file", c.in(other, "cat file"), "y\n")
	}},
	{name: "outlives its parent's reaping", fn: func(c *check) {
		parent := c.build(step{workspace: sources(c), sh: "echo parent > file; rm edit"})
		child := c.build(step{parent: parent, sh: "echo child > other"})
		c.reap(parent)
		c.equal("files", c.in(child, "cat file other append; test ! -e edit"), "parent\nchild\nappend\n")
		grandchild := c.build(step{parent: child, sh: "rm other"})
		c.reap(child)
		c.equal("files of the grandchild", c.in(grandchild, "cat file; test ! -e other"), "parent\n")
	}},
	{name: "frees the disk when it is reaped", fn: func(c *check) {
		c.need(c.props.Usage != nil, "Usage")
		const size = 8 << 20
		before := c.props.Usage(c.runner)
		var refs []runner.SnapshotRef
		var parent runner.SnapshotRef
		for i := range 3 {
			parent = c.build(step{parent: parent, sh: fmt.Sprintf("mkdir d%d; chmod 700 d%d; head -c %d /dev/urandom > d%d/file; chmod 000 d%d", i, i, size, i, i)})
			refs = append(refs, parent)
		}
		if used := c.props.Usage(c.runner) - before; used < 3*size {
			c.Errorf("three snapshots of %d bytes each: Usage grew by %d", size, used)
		}
		c.reap(refs...)
		if used := c.props.Usage(c.runner) - before; used > size/8 {
			c.Errorf("after the reaping %d bytes are still used", used)
		}
	}},
	{name: "costs nothing when a step commits none", fn: func(c *check) {
		c.need(c.props.Usage != nil, "Usage")
		const script = "head -c 8388608 /dev/urandom > file; "
		before := c.props.Usage(c.runner)
		c.pass(step{sh: script})
		c.do(step{sh: script + "exit 1", commit: c.ref()})
		if used := c.props.Usage(c.runner) - before; used > 1<<20 {
			c.Errorf("a step without a snapshot and a failed one left %d bytes", used)
		}
	}},
}

// notOnMachine checks that a step's file is not on the machine of the test.
func (c *check) notOnMachine(path string) {
	c.Helper()
	if _, err := os.Lstat(path); err == nil {
		c.Errorf("the step has written %s on the machine itself", path)
	}
}
