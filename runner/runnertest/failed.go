package runnertest

import "github.com/strata-ci/strata/runner"

// What is left of a command that did not pass, where that is asked for.
var failedTests = []test{
	{name: "is committed whatever was decided for a pass", fn: func(c *check) {
		c.keeper()
		for _, commits := range []bool{false, true} {
			for _, script := range []string{"exit 3", "kill -KILL $$"} {
				s := step{sh: "echo left > file; mkdir d; chmod 700 d; " + script}
				ref := c.failedRef(&s, commits)
				if o := c.do(s); o.err != nil || o.Passed() || o.Snapshot != ref {
					c.Errorf("%s: got %v, want a failure and the snapshot %s", script, o, ref)
					continue
				}
				c.equal("what is left", c.in(ref, "cat file; ls -d d"), "left\nd\n")
				c.keep(ref)
				c.whole(ref)
			}
		}
	}},
	{name: "is committed of a command whose time was over", fn: func(c *check) {
		c.keeper()
		s := step{sh: "echo left > file; sleep 1000", timeout: timeLimit}
		ref := c.failedRef(&s, false)
		if o := c.do(s); o.err != nil || !o.TimedOut || o.Snapshot != ref {
			c.Fatalf("got %v, want timed out and the snapshot %s", o, ref)
		}
		c.equal("what is left", c.in(ref, "cat file"), "left\n")
	}},
	{name: "is committed on top of the parent", fn: func(c *check) {
		c.keeper()
		parent := c.build(step{workspace: sources(c), sh: "echo parent > file"})
		s := step{parent: parent, sh: "rm edit; echo child > other; exit 1"}
		ref := c.failedRef(&s, true)
		if o := c.do(s); o.err != nil || o.Snapshot != ref {
			c.Fatalf("got %v, want the snapshot %s", o, ref)
		}
		c.equal("what is left", c.in(ref, "test ! -e edit; cat file other append"), "parent\nchild\nappend\n")
	}},
	{name: "changes nothing for a command that passes", fn: func(c *check) {
		c.keeper()
		s := step{sh: "echo x > file"}
		ref := c.failedRef(&s, false)
		if o := c.do(s); o.err != nil || o.Snapshot != "" {
			c.Errorf("got %v, want no snapshot", o)
		}
		c.wantInfra(c.do(step{sh: "true", parent: ref}), runner.KindSnapshot)
		ref = c.failedRef(&s, true)
		if o := c.do(s); o.err != nil || o.Snapshot != ref {
			c.Errorf("got %v, want the snapshot %s", o, ref)
		}
	}},
	{name: "is nothing when the step was cancelled or never ran", fn: func(c *check) {
		c.keeper()
		s := step{sh: "echo ready; sleep 1000"}
		ref := c.failedRef(&s, true)
		r := c.start(s)
		r.await("ready\n")
		r.cancel()
		c.wantCancelled(r.wait())
		c.wantInfra(c.do(step{sh: "true", parent: ref}), runner.KindSnapshot)
		s = step{args: []string{"no-such-program"}}
		ref = c.failedRef(&s, true)
		c.wantInfra(c.do(s), runner.KindStart)
		c.wantInfra(c.do(step{sh: "true", parent: ref}), runner.KindSnapshot)
	}},
}

// failedRef asks for what a step leaves that does not pass, and for that of one
// that passes if commits is set.
func (c *check) failedRef(s *step, commits bool) runner.SnapshotRef {
	s.failed = c.ref()
	s.commit = ""
	if commits {
		s.commit = s.failed
	}
	return s.failed
}
