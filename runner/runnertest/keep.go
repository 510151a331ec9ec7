package runnertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"sync"

	"github.com/strata-ci/strata/runner"
)

// How kept snapshots outlive the run and the process, until they are reaped.
var keepTests = []test{
	{name: "comes with all that caching needs", fn: func(c *check) {
		c.keeper()
		_, reaper := c.runner.(runner.SnapshotReaper)
		_, checker := c.runner.(runner.SnapshotChecker)
		_, identifier := c.runner.(runner.ImageIdentifier)
		if !reaper || !checker || !identifier {
			c.Errorf("the runner keeps snapshots: is it a SnapshotReaper (%v), a SnapshotChecker (%v) and an ImageIdentifier (%v)?", reaper, checker, identifier)
		}
	}},
	{name: "outlives the runner", fn: func(c *check) {
		c.keeper()
		parent := c.build(step{workspace: sources(c), sh: "echo parent > file; rm edit"})
		child := c.build(step{parent: parent, sh: "echo child >> file"})
		c.keep(parent, child)
		c.change(true)
		c.whole(parent, child)
		c.equal("the parent's files", c.in(parent, "cat file append; test ! -e edit"), "parent\nappend\n")
		c.equal("the child's files", c.in(child, "cat file append; test ! -e edit"), "parent\nchild\nappend\n")
		c.equal("the files of a child of another run", c.in(c.build(step{parent: child, sh: "rm file"}), "cat append; ls"), "append\nappend\ndir\ngone\nmove\nover\nremove\nrename\n")
	}},
	{name: "can be started from while it is kept", fn: func(c *check) {
		c.keeper()
		ref := c.build(step{sh: "i=0; while [ $i -lt 50 ]; do echo $i > f$i; i=$((i+1)); done"})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if out, ok := c.try(step{parent: ref, sh: "cat f* | wc -l | tr -d ' '; rm f*"}); ok {
					c.equal("number of files", out, "50\n")
				}
			})
		}
		c.keep(ref)
		wg.Wait()
		c.whole(ref)
	}},
	{name: "says what the disk space goes to", fn: func(c *check) {
		c.keeper()
		const size = 8 << 20
		large := c.build(step{sh: fmt.Sprintf("head -c %d /dev/urandom > file", size)})
		small := c.build(step{sh: "echo x > file"})
		child := c.build(step{parent: large, sh: "echo x > other"})
		before := c.keep(large)
		parts := c.keep(large, small, child)
		if again := c.keep(large); !maps.Equal(before, again) {
			c.Errorf("kept again, the snapshot has the parts %v, not %v", again, before)
		}
		if total := sum(before); total < size || total > 2*size {
			c.Errorf("a snapshot with a file of %d bytes occupies %d bytes in its parts %v", size, total, before)
		}
		if total := sum(c.keep(small)); total > size/2 {
			c.Errorf("a snapshot with a small file occupies %d bytes", total)
		}
		c.need(c.props.Usage != nil, "Usage")
		if total, used := sum(parts), c.props.Usage(c.runner); total < used*7/8 || total > used*9/8 {
			c.Errorf("all parts together are %d bytes, and the disk has %d of the runner's", total, used)
		}
	}},
	{name: "has parts until the last of its sharers is reaped", fn: func(c *check) {
		c.keeper()
		parent := c.build(step{sh: "head -c 1000000 /dev/urandom > file; cksum < file > sum"})
		child := c.build(step{parent: parent, sh: "echo child > other"})
		c.keep(parent, child)
		c.reap(parent)
		c.whole(child)
		c.equal("the child's files", c.in(child, "cksum < file | cmp - sum; cat other"), "child\n")
		if c.props.Reopen != nil {
			c.change(true)
			c.equal("the child's files later", c.in(child, "cksum < file | cmp - sum; cat other"), "child\n")
		}
	}},
	{name: "is nothing where there is no snapshot", fn: func(c *check) {
		k := c.keeper()
		ref := c.build(step{sh: "echo x > file"})
		kept, err := k.KeepSnapshots(context.Background(), []runner.SnapshotRef{ref, "no-such-snapshot"})
		if len(kept) > 0 {
			c.Errorf("together with an error came %v", kept)
		}
		c.wantKind(fmt.Sprintf("%v, %v", kept, err), err, runner.KindSnapshot)
		c.keep(ref)
		c.whole(ref)
	}},
	{name: "keeps nothing of a context that ended", fn: func(c *check) {
		k := c.keeper()
		ref := c.build(step{sh: "echo x > file"})
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := k.KeepSnapshots(ctx, []runner.SnapshotRef{ref}); !errors.Is(err, context.Canceled) {
			c.Errorf("got %v, want context.Canceled", err)
		}
	}},
	{name: "is whole after all that its children do", fn: func(c *check) {
		c.keeper()
		const script = "rm -r *; echo new > edit; mkdir dir; echo new > dir/keep; chmod 700 dir"
		ref := c.build(step{workspace: sources(c), sh: "mkdir -p a/b; echo x > a/b/file; rm edit"})
		c.keep(ref)
		c.in(ref, script)
		child := c.build(step{parent: ref, sh: script})
		c.keep(child)
		c.build(step{parent: child, sh: "rm -r dir"})
		c.whole(ref, child)
		c.reap(child)
		c.whole(ref)
	}},
	{name: "is not whole when it is gone", fn: func(c *check) {
		c.keeper()
		ref := c.build(step{sh: "echo x > file"})
		c.keep(ref)
		c.reap(ref)
		for _, gone := range []runner.SnapshotRef{ref, "no-such-snapshot"} {
			for depth := range runner.CheckContents + 1 {
				c.damaged(gone, depth)
			}
		}
	}},
	{name: "damage is found by a check", fn: func(c *check) {
		c.keeper()
		c.need(c.props.Damage != nil, "Damage")
		for depth := range runner.CheckContents + 1 {
			ref := c.build(step{sh: "mkdir d; head -c 1000000 /dev/urandom > d/file"})
			part := largest(c.keep(ref))
			c.props.Damage(c, c.runner, part, depth)
			for d := range runner.CheckContents + 1 {
				err := c.checkSnapshot(ref, d)
				if d < depth {
					if err != nil {
						c.Errorf("damage of depth %d: a check of depth %d, which cannot find it, says %v", depth, d, err)
					}
					continue
				}
				if c.damaged(ref, d); err != nil && !strings.Contains(err.Error(), part) {
					c.Errorf("a check of depth %d says %v and does not name the part %s", d, err, part)
				}
			}
		}
	}},
	{name: "is reaped by another runner", fn: func(c *check) {
		c.keeper()
		ref := c.build(step{sh: "echo x > file"})
		other := c.build(step{sh: "echo y > file"})
		c.keep(ref, other)
		first := c.runner
		c.change(false)
		c.reap(ref)
		c.reap(ref, "no-such-snapshot")
		c.runner = first
		c.damaged(ref, runner.CheckExists)
		c.wantInfra(c.do(step{sh: "cat file", parent: ref}), runner.KindSnapshot)
		c.reap(ref)
		c.whole(other)
		c.equal("another snapshot's file", c.in(other, "cat file"), "y\n")
	}},
	{name: "frees the disk when it is reaped", fn: func(c *check) {
		c.keeper()
		c.need(c.props.Usage != nil, "Usage")
		const size = 8 << 20
		before := c.props.Usage(c.runner)
		parent := c.build(step{sh: fmt.Sprintf("head -c %d /dev/urandom > file", size)})
		child := c.build(step{parent: parent, sh: "echo x > other"})
		c.keep(parent, child)
		c.reap(parent, child)
		if used := c.props.Usage(c.runner) - before; used > size/8 {
			c.Errorf("after the reaping %d bytes are still used", used)
		}
	}},
}

// keeper returns the runner if it keeps snapshots.
func (c *check) keeper() runner.SnapshotKeeper {
	c.Helper()
	k, ok := c.runner.(runner.SnapshotKeeper)
	if !ok {
		c.Skip("the runner does not implement SnapshotKeeper")
	}
	return k
}

// keep keeps snapshots and returns their parts, each once.
func (c *check) keep(refs ...runner.SnapshotRef) map[string]int64 {
	c.Helper()
	kept, err := c.keeper().KeepSnapshots(context.Background(), refs)
	if err != nil || len(kept) != len(refs) {
		c.Fatalf("KeepSnapshots(%q): got %v, %v", refs, kept, err)
	}
	parts := map[string]int64{}
	for i, k := range kept {
		if k.Ref != refs[i] || len(k.Parts) == 0 {
			c.Errorf("got %+v, want the parts of %s", k, refs[i])
		}
		for _, p := range k.Parts {
			if known, ok := parts[p.ID]; ok && known != int64(p.Bytes) || p.ID == "" {
				c.Errorf("the part %q has %d bytes in one snapshot and %d in another", p.ID, known, p.Bytes)
			}
			parts[p.ID] = int64(p.Bytes)
		}
	}
	return parts
}

func sum(parts map[string]int64) int64 {
	var total int64
	for _, n := range parts {
		total += n
	}
	return total
}

func largest(parts map[string]int64) string {
	var found string
	for id, n := range parts {
		if found == "" || n > parts[found] {
			found = id
		}
	}
	return found
}

// whole checks snapshots to every depth.
func (c *check) whole(refs ...runner.SnapshotRef) {
	c.Helper()
	for _, ref := range refs {
		for depth := range runner.CheckContents + 1 {
			if err := c.checkSnapshot(ref, depth); err != nil {
				c.Errorf("CheckSnapshot(%s) to depth %d: %v", ref, depth, err)
			}
		}
	}
}

// damaged checks that a check finds something.
func (c *check) damaged(ref runner.SnapshotRef, depth runner.CheckDepth) {
	c.Helper()
	err := c.checkSnapshot(ref, depth)
	c.wantKind(fmt.Sprintf("%v of a check of %s to depth %d", err, ref, depth), err, runner.KindSnapshot)
}

func (c *check) checkSnapshot(ref runner.SnapshotRef, depth runner.CheckDepth) error {
	c.Helper()
	checker, ok := c.runner.(runner.SnapshotChecker)
	if !ok {
		c.Fatal("the runner keeps snapshots and does not implement SnapshotChecker")
	}
	return checker.CheckSnapshot(context.Background(), ref, depth)
}

// change goes on with another runner over the same state; it closes the first
// one if asked to.
func (c *check) change(closes bool) {
	c.Helper()
	c.need(c.props.Reopen != nil, "Reopen")
	first := c.runner
	if closer, ok := first.(io.Closer); ok && closes {
		if err := closer.Close(); err != nil {
			c.Errorf("close the runner: %v", err)
		}
	}
	c.runner = c.props.Reopen(c, first)
}
