//go:build linux

package snapshottest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/strata-ci/strata/runner"
)

// another opens the store once more, as another process does.
func (c *check) another() *check {
	c.Helper()
	other := *c
	other.driver = c.factory(c.T, c.dir, c.image, manyLayers)
	return &other
}

func (c *check) keep(refs ...runner.SnapshotRef) []runner.KeptSnapshot {
	c.Helper()
	kept, err := c.driver.Keep(context.Background(), refs)
	c.must(err)
	return kept
}

// wantWhole fails unless a kept snapshot passes all checks.
func (c *check) wantWhole(ref runner.SnapshotRef) {
	c.Helper()
	for _, depth := range []runner.CheckDepth{runner.CheckExists, runner.CheckFiles, runner.CheckContents} {
		if err := c.driver.Check(context.Background(), ref, depth); err != nil {
			c.Errorf("depth %d: %v", depth, err)
		}
	}
}

// wantGone fails if a snapshot is there in any way.
func (c *check) wantGone(ref runner.SnapshotRef) {
	c.Helper()
	_, err := c.driver.Fork(ref)
	c.wantKind(err, runner.KindSnapshot)
	for _, depth := range []runner.CheckDepth{runner.CheckExists, runner.CheckFiles} {
		c.wantKind(c.driver.Check(context.Background(), ref, depth), runner.KindSnapshot)
	}
}

// wantNothing fails if the store holds any layer or fork.
func (c *check) wantNothing() {
	c.Helper()
	for _, pattern := range []string{"layers/*", activeDirs + "/*"} {
		left, err := filepath.Glob(filepath.Join(c.dir, pattern))
		c.must(err)
		if len(left) > 0 {
			c.Errorf("left behind: %v", left)
		}
	}
}

// takeBlocks fills a file system until it is called back.
func (c *check) takeBlocks(dir, name string) (free func()) {
	c.Helper()
	path := filepath.Join(dir, name)
	f, err := os.Create(path)
	c.must(err)
	for err == nil {
		_, err = f.Write(make([]byte, os.Getpagesize()))
	}
	c.must(f.Close())
	if !runner.IsDiskFull(err) {
		c.Fatal(err)
	}
	return func() { c.must(os.Remove(path)) }
}

// keepTests are about snapshots that outlive their process.
var keepTests = []test{
	{name: "a kept snapshot outlives the process that made it", fn: func(c *check) {
		parent := c.step("", "workspace", Op{Do: Write, Path: "new", To: "new"}, Op{Do: Remove, Path: "a"})
		child := c.step(parent, "workspace", Op{Do: Append, Path: "new", To: "+"}, Op{Do: Mkdir, Path: "closed"},
			Op{Do: Write, Path: "closed/file", To: "x"}, Op{Do: Chmod, Path: "closed/file", Mode: 0}, Op{Do: Chmod, Path: "closed", Mode: 0})
		want := c.tree(child, "workspace")
		c.keep(child)
		c.must(c.driver.Close())
		next := c.another()
		if d := diff(want, next.tree(child, "workspace")); d != "" {
			c.Error(d)
		}
		next.wantWhole(child)
		next.wantGone(parent)
		c.must(next.driver.Remove(child))
		next.wantGone(child)
		next.wantNothing()
	}},
	{name: "a kept snapshot outlives a crash, and nothing else does", fn: func(c *check) {
		kept := c.step("", "workspace", Op{Do: Write, Path: "new", To: "new"})
		lost := c.step(kept, "workspace", Op{Do: Write, Path: "lost", To: "lost"}, Op{Do: Mkdir, Path: "d"}, Op{Do: Chmod, Path: "d", Mode: 0})
		c.keep(kept)
		c.in(c.fork(lost), "workspace", Op{Do: Write, Path: "running", To: "x"})
		c.driver.Crash()
		next := c.another()
		next.wantGone(lost)
		next.want(kept, "workspace", map[string]*Node{"new": file("new"), "lost": nil})
		next.wantWhole(kept)
		c.must(next.driver.Remove(kept))
		next.wantNothing()
	}},
	{name: "another process starts from what is kept, while its maker lives", fn: func(c *check) {
		parent := c.step("", "workspace", Op{Do: Write, Path: "new", To: "new"})
		other := c.another()
		other.wantGone(parent)
		c.keep(parent)
		other.made = 100
		child := other.step(parent, "workspace", Op{Do: Append, Path: "new", To: "+"})
		other.keep(child)
		c.want(child, "workspace", map[string]*Node{"new": file("new+")})
		c.must(other.driver.Close())
		c.want(child, "workspace", map[string]*Node{"new": file("new+")})
	}},
	{name: "keeping tells what it takes, and may be repeated", fn: func(c *check) {
		parent := c.step("", "workspace", Op{Do: Write, Path: "new", To: string(make([]byte, 1<<20))})
		child := c.step(parent, "workspace", Op{Do: Write, Path: "more", To: string(make([]byte, 2<<20))})
		first := c.keep(parent, child)
		again := c.another().keep(child, parent)
		if fmt.Sprint(first[0]) != fmt.Sprint(again[1]) || fmt.Sprint(first[1]) != fmt.Sprint(again[0]) {
			c.Errorf("%v, then %v", first, again)
		}
		ids := map[string]bool{}
		var bytes int64
		for _, k := range first {
			for _, p := range k.Parts {
				if !ids[p.ID] {
					bytes += int64(p.Bytes)
				}
				ids[p.ID] = true
			}
		}
		if bytes < 3<<20 || bytes > 6<<20 {
			c.Errorf("3 MiB take %d bytes", bytes)
		}
	}},
	{name: "a kept snapshot without changes", needs: needsLayers, fn: func(c *check) {
		empty := c.step("", "workspace")
		parent := c.step(empty, "workspace", Op{Do: Write, Path: "new", To: "new"})
		same := c.step(parent, "workspace")
		kept := c.keep(empty, parent, same)
		if len(kept[0].Parts) != 0 || fmt.Sprint(kept[1].Parts) != fmt.Sprint(kept[2].Parts) {
			c.Errorf("they consist of %v", kept)
		}
		c.must(c.driver.Close())
		next := c.another()
		next.want(empty, "workspace", map[string]*Node{"new": nil})
		next.want(same, "workspace", map[string]*Node{"new": file("new")})
		c.must(next.driver.Remove(parent))
		next.wantWhole(same)
		next.wantWhole(empty)
		c.must(next.driver.Remove(same, empty))
		next.wantGone(empty)
		next.wantNothing()
	}},
	{name: "what is not there cannot be kept", fn: func(c *check) {
		there := c.step("", "workspace", Op{Do: Write, Path: "new", To: "new"})
		_, err := c.driver.Keep(context.Background(), []runner.SnapshotRef{there, "never-there"})
		c.wantKind(err, runner.KindSnapshot)
		other := c.another()
		other.wantGone(there)
	}},
	{name: "a snapshot that another process removes stays for who uses it", fn: func(c *check) {
		parent := c.step("", "workspace", Op{Do: Write, Path: "new", To: "new"})
		c.keep(parent)
		c.must(c.driver.Close())
		user, remover := c.another(), c.another()
		user.made = 100
		f := user.fork(parent)
		c.must(remover.driver.Remove(parent))
		remover.wantGone(parent)
		user.wantGone(parent)
		user.in(f, "workspace", Op{Do: Append, Path: "new", To: "+"})
		c.must(f.Commit("child"))
		user.keep("child")
		c.must(user.driver.Close(), remover.driver.Sweep(context.Background(), true))
		remover.want("child", "workspace", map[string]*Node{"new": file("new+")})
		remover.wantWhole("child")
		c.must(remover.driver.Remove("child"))
		remover.wantNothing()
	}},
	{name: "what its user gives up is removed by the next sweep", fn: func(c *check) {
		parent := c.step("", "workspace", Op{Do: Write, Path: "new", To: "new"})
		c.keep(parent)
		c.must(c.another().driver.Remove(parent))
		c.want(parent, "workspace", map[string]*Node{"new": file("new")}) // its maker still has it
		c.must(c.driver.Close())
		c.must(c.another().driver.Sweep(context.Background(), false))
		c.wantNothing()
	}},
	{name: "what a removed snapshot had in common with others stays", fn: func(c *check) {
		parent := c.step("", "workspace", Op{Do: Write, Path: "new", To: "new"})
		one := c.step(parent, "workspace", Op{Do: Write, Path: "one", To: "1"})
		two := c.step(parent, "workspace", Op{Do: Write, Path: "two", To: "2"})
		c.keep(parent, one, two)
		c.must(c.driver.Close())
		next := c.another()
		c.must(next.driver.Remove(parent, one))
		next.want(two, "workspace", map[string]*Node{"new": file("new"), "two": file("2"), "one": nil})
		next.wantWhole(two)
		c.must(next.driver.Remove(two))
		next.wantNothing()
	}},
	{name: "a lost layer drops its snapshots, and they alone", fn: func(c *check) {
		one := c.step("", "workspace", Op{Do: Write, Path: "new", To: "1"})
		two := c.step("", "workspace", Op{Do: Write, Path: "new", To: "2"})
		parts := c.keep(one, two)
		c.must(c.driver.Close())
		c.must(os.RemoveAll(filepath.Join(c.dir, "layers", parts[0].Parts[0].ID)))
		next := c.another()
		err := next.driver.Check(context.Background(), one, runner.CheckExists)
		c.wantKind(err, runner.KindSnapshot)
		if err == nil || !strings.Contains(err.Error(), parts[0].Parts[0].ID+" is missing") {
			c.Errorf("the error is %v", err)
		}
		c.must(next.driver.Sweep(context.Background(), true))
		next.wantGone(one)
		next.wantWhole(two)
	}},
	{name: "a layer that nobody owns is removed by a full sweep", fn: func(c *check) {
		kept := c.step("", "workspace", Op{Do: Write, Path: "new", To: "1"})
		c.keep(kept)
		c.must(os.MkdirAll(filepath.Join(c.dir, "layers/orphan.1/workspace"), 0o755))
		mine := c.step(kept, "workspace", Op{Do: Write, Path: "new", To: "2"})
		other := c.another()
		c.must(other.driver.Sweep(context.Background(), true))
		if _, err := os.Lstat(filepath.Join(c.dir, "layers/orphan.1")); err == nil {
			c.Error("it is still there")
		}
		c.want(mine, "workspace", map[string]*Node{"new": file("2")})
		c.wantWhole(kept)
	}},
	{name: "on a full disk nothing counts as kept", fn: func(c *check) {
		small, dir := c.onSmallDisk()
		var last runner.SnapshotRef
		var kept []runner.SnapshotRef
		free := func() {}
		for i := range 40 { // the records have some space of their own
			last = small.step("", "workspace", Op{Do: Write, Path: "new", To: fmt.Sprint(i)})
			free()
			free = small.takeBlocks(dir, "hoard")
			if _, err := small.driver.Keep(context.Background(), []runner.SnapshotRef{last}); err != nil {
				small.wantKind(err, runner.KindDiskFull)
				small.wantKind(small.driver.Check(context.Background(), last, runner.CheckExists), runner.KindSnapshot)
				break
			}
			kept = append(kept, last)
			free()
			free = func() {}
		}
		free()
		if len(kept) == 40 {
			c.Error("the disk was never full")
		}
		small.want(last, "workspace", map[string]*Node{"new": file(fmt.Sprint(len(kept)))})
		small.keep(last)
		small.wantWhole(last)
		next := small.another()
		c.must(small.driver.Close())
		c.must(next.driver.Remove(append(kept, last)...))
		next.wantNothing()
	}},
	{name: "many processes keep, start from and remove the same", fn: func(c *check) {
		parent := c.step("", "workspace", Op{Do: Write, Path: "new", To: "new"})
		c.keep(parent)
		var all sync.WaitGroup
		for i := range 4 {
			other := c.another()
			all.Go(func() {
				for n := range 5 {
					ref := runner.SnapshotRef(fmt.Sprintf("p%d.%d", i, n))
					f, err := other.driver.Fork(parent)
					if err != nil {
						c.Error(err)
						return
					}
					if err := f.Commit(ref); err != nil {
						c.Error(err)
					}
					if _, err := other.driver.Keep(context.Background(), []runner.SnapshotRef{ref, parent}); err != nil {
						c.Error(err)
					}
					if err := other.driver.Remove(ref); err != nil {
						c.Error(err)
					}
				}
			})
		}
		all.Wait()
		c.wantWhole(parent)
		c.must(c.driver.Remove(parent))
		c.must(c.driver.Sweep(context.Background(), false))
		c.wantNothing()
	}},
}
