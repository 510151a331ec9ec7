//go:build linux

package snapshottest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/runner"
)

type test struct {
	name  string
	needs func(Properties) bool
	fn    func(*check)
}

func needsSystem(p Properties) bool { return p.System }
func needsLayers(p Properties) bool { return p.Layers }

var tests = []test{
	{name: "a child sees what its parent has left", fn: func(c *check) {
		ref := c.step("", "workspace",
			Op{Do: Write, Path: "new", To: "new"}, Op{Do: Append, Path: "a", To: "+"}, Op{Do: Remove, Path: "b/a"},
			Op{Do: Rename, Path: "b/b", To: "moved"}, Op{Do: Symlink, Path: "link", To: "/no/where"},
			Op{Do: Mkdir, Path: "empty"}, Op{Do: Chmod, Path: "empty", Mode: 0o1777},
			Op{Do: Attribute, Path: "b", To: "value"}, Op{Do: Link, Path: "new", To: "same"},
			Op{Do: Mkdir, Path: "old"}, Op{Do: Write, Path: "old/file", To: ""}, Op{Do: Touch, Path: "old/file"}, Op{Do: Touch, Path: "old"})
		new := file("new")
		new.Links = 2
		b, old, oldFile := dir(0o755), dir(0o755), file("")
		b.Attribute, old.Past, oldFile.Past = "value", true, true
		c.want(ref, "workspace", map[string]*Node{
			"new": new, "same": new, "a": file("a+"), "b/a": nil, "b/b": nil, "moved/a": file("b/b/a"), "b": b,
			"link": {Mode: 0o120777, Data: "/no/where"}, "empty": dir(0o1777), "old": old, "old/file": oldFile,
			"c": {Mode: 0o040755, Past: true},
		})
	}},
	{name: "directories become files and files directories", fn: func(c *check) {
		one := c.step("", "workspace", Op{Do: RemoveAll, Path: "b"}, Op{Do: Write, Path: "b", To: "file"}, Op{Do: Remove, Path: "a"}, Op{Do: Mkdir, Path: "a"})
		c.want(one, "workspace", map[string]*Node{"b": file("file"), "b/a": nil, "a": dir(0o755)})
		two := c.step(one, "workspace", Op{Do: Remove, Path: "b"}, Op{Do: Mkdir, Path: "b"}, Op{Do: Remove, Path: "a"})
		c.want(two, "workspace", map[string]*Node{"b": dir(0o755), "b/a": nil, "b/b": nil, "a": nil})
		three := c.step(two, "workspace", Op{Do: Write, Path: "b/a", To: "again"})
		c.want(three, "workspace", map[string]*Node{"b/a": file("again"), "b/b": nil, "a": nil})
	}},
	{name: "what a step does to the root of a tree survives", fn: func(c *check) {
		ref := c.step("", "workspace", Op{Do: Chmod, Path: ".", Mode: 0o700})
		c.want(ref, "workspace", map[string]*Node{".": dir(0o700)})
		ref = c.step(ref, "workspace", Op{Do: Attribute, Path: ".", To: "value"})
		c.want(ref, "workspace", map[string]*Node{".": {Mode: 0o040700, Attribute: "value"}})
		ref = c.step(ref, "workspace", Op{Do: Touch, Path: "."})
		c.want(ref, "workspace", map[string]*Node{".": {Mode: 0o040700, Attribute: "value", Past: true}})
	}},
	{name: "closed directories do no harm", fn: func(c *check) {
		before := c.usage()
		var ref runner.SnapshotRef
		for _, mode := range []uint32{0, 0o111, 0o444, 0o500} {
			ref = c.step(ref, "workspace", Op{Do: Write, Path: "b/new", To: "new"},
				Op{Do: Chmod, Path: "b", Mode: mode}, Op{Do: Chmod, Path: "c", Mode: mode}, Op{Do: Chmod, Path: ".", Mode: mode})
			c.want(ref, "workspace", map[string]*Node{
				".": dir(mode), "b": dir(mode), "c": {Mode: 0o040000 | mode, Past: true}, "b/new": file("new"), "b/a": file("b/a"),
			})
		}
		for i := range c.made {
			c.must(c.driver.Remove(runner.SnapshotRef(fmt.Sprint("s", i+1))))
		}
		if after := c.usage(); after > before {
			c.Errorf("%d bytes became %d", before, after)
		}
	}},
	{name: "a snapshot never changes", fn: func(c *check) {
		parent := c.step("", "workspace", Op{Do: Write, Path: "b/new", To: "new"})
		before := c.tree(parent, "workspace")
		c.step(parent, "workspace", Op{Do: RemoveAll, Path: "b"}, Op{Do: Append, Path: "a", To: "+"}, Op{Do: Chmod, Path: ".", Mode: 0o700})
		f := c.fork(parent)
		c.in(f, "workspace", Op{Do: Append, Path: "b/new", To: "+"}, Op{Do: Chmod, Path: "b/new", Mode: 0})
		f.Discard()
		if d := diff(before, c.tree(parent, "workspace")); d != "" {
			c.Error(d)
		}
	}},
	{name: "siblings never see each other", fn: func(c *check) {
		parent := c.step("", "workspace", Op{Do: Write, Path: "new", To: "new"})
		f, g := c.fork(parent), c.fork(parent)
		c.in(f, "workspace", Op{Do: Write, Path: "f", To: "f"}, Op{Do: Append, Path: "new", To: "f"})
		tree := c.in(g, "workspace")
		if _, there := tree["f"]; there || tree["new"] != *file("new") {
			c.Errorf("a sibling sees %v", tree)
		}
		c.must(f.Commit("f"), g.Commit("g"))
		c.want("g", "workspace", map[string]*Node{"f": nil, "new": file("new")})
	}},
	{name: "the parent can be removed while its child runs", fn: func(c *check) {
		parent := c.step("", "workspace", Op{Do: Write, Path: "new", To: "new"})
		f := c.fork(parent)
		c.must(c.driver.Remove(parent))
		c.in(f, "workspace", Op{Do: Append, Path: "new", To: "+"})
		c.must(f.Commit("child"))
		c.want("child", "workspace", map[string]*Node{"new": file("new+")})
	}},
	{name: "a fork that is discarded leaves nothing", fn: func(c *check) {
		before := c.usage()
		f := c.fork("")
		c.in(f, "workspace", Op{Do: Mkdir, Path: "d"}, Op{Do: Write, Path: "d/f", To: "x"}, Op{Do: Chmod, Path: "d", Mode: 0})
		for range 2 {
			f.Discard()
		}
		if left := c.active(); len(left) > 0 || c.usage() > before {
			c.Errorf("it left %v: %d bytes became %d", left, before, c.usage())
		}
	}},
	{name: "removing is idempotent and frees what nobody else needs", fn: func(c *check) {
		empty := c.usage()
		parent := c.step("", "workspace", Op{Do: Write, Path: "new", To: string(make([]byte, 1<<20))})
		child := c.step(parent, "workspace", Op{Do: Write, Path: "newer", To: string(make([]byte, 1<<20))})
		c.must(c.driver.Remove(parent, "never-there"))
		c.want(child, "workspace", map[string]*Node{"new": file(string(make([]byte, 1<<20)))})
		for range 2 {
			c.must(c.driver.Remove(child))
		}
		if after := c.usage(); after > empty {
			c.Errorf("%d bytes became %d", empty, after)
		}
	}},
	{name: "usage grows with what a step writes", fn: func(c *check) {
		before := c.usage()
		c.step("", "workspace", Op{Do: Write, Path: "new", To: string(make([]byte, 1<<20))})
		if after := c.usage(); after < before+1<<20 {
			c.Errorf("%d bytes became %d after a step that wrote 1 MiB", before, after)
		}
	}},
	{name: "an unknown parent is a fault of the snapshot", fn: func(c *check) {
		for _, ref := range []runner.SnapshotRef{"never-there", "../active", "/etc", "."} {
			_, err := c.driver.Fork(ref)
			c.wantKind(err, runner.KindSnapshot)
		}
	}},
	{name: "a name that is none is refused", fn: func(c *check) {
		for _, ref := range []runner.SnapshotRef{"", "a/b", "a b", "é"} {
			if err := c.fork("").Commit(ref); err == nil {
				c.Errorf("%q was accepted", ref)
			}
		}
		if left := c.active(); len(left) > 0 {
			c.Errorf("left behind: %v", left)
		}
	}},
	{name: "a name can be given again", fn: func(c *check) {
		for _, data := range []string{"one", "two"} {
			f := c.fork("")
			c.in(f, "workspace", Op{Do: Write, Path: "new", To: data})
			c.must(f.Commit("again"))
			c.want("again", "workspace", map[string]*Node{"new": file(data)})
		}
	}},
	{name: "changes of system directories survive", needs: needsSystem, fn: func(c *check) {
		one := c.step("", "", Op{Do: Write, Path: "usr/new", To: "usr"}, Op{Do: Remove, Path: "usr/a"}, Op{Do: Write, Path: "var/lib/new", To: "lib"})
		two := c.step(one, "", Op{Do: Chmod, Path: "var/lib", Mode: 0o700}, Op{Do: Write, Path: "var/new", To: "var"}, Op{Do: Append, Path: "usr/new", To: "+"})
		c.want(two, "", map[string]*Node{
			"usr/new": file("usr+"), "usr/a": nil, "usr/b/a": file("b/a"), "var/lib/new": file("lib"), "var/lib": dir(0o700), "var/new": file("var"),
		})
	}},
	{name: "directories above a change keep their attributes", needs: needsSystem, fn: func(c *check) {
		c.must(apply(c.image.Root, Op{Do: Chmod, Path: "var", Mode: 0o711}), apply(c.image.Root, Op{Do: Attribute, Path: "var", To: "value"}),
			apply(c.image.Root, Op{Do: Touch, Path: "var"}), apply(c.image.Root, Op{Do: Touch, Path: "."}))
		ref := c.step("", "", Op{Do: Write, Path: "var/lib/new", To: "lib"})
		c.want(ref, "", map[string]*Node{
			".": {Mode: 0o040755, Past: true}, "var": {Mode: 0o040711, Attribute: "value", Past: true}, "var/lib/new": file("lib"),
		})
	}},
	{name: "a fork and its commit touch nothing of the parent", needs: needsLayers, fn: func(c *check) {
		ops := []Op{{Do: Mkdir, Path: "many"}}
		for i := range 500 {
			ops = append(ops, Op{Do: Write, Path: fmt.Sprint("many/", i), To: "x"})
		}
		parent := c.step("", "workspace", ops...)
		before := c.inodes("layers")
		if left := c.active(); len(left) > 0 {
			c.Fatalf("left behind: %v", left)
		}
		f := c.fork(parent)
		if made := len(c.inodes(activeDirs)); made > 20 {
			c.Errorf("the fork consists of %d entries", made)
		}
		c.in(f, "workspace", Op{Do: Write, Path: "new", To: "new"})
		c.must(f.Commit("child"))
		after := c.inodes("layers")
		for p, st := range before {
			if after[p] != st {
				c.Errorf("%s was touched", p)
			}
		}
		if len(after) > len(before)+5 {
			c.Errorf("the commit added %d entries for one file", len(after)-len(before))
		}
	}},
	{name: "a step that changes nothing adds no layer", needs: needsLayers, fn: func(c *check) {
		parent := c.step("", "workspace", Op{Do: Write, Path: "new", To: "new"})
		before := c.inodes("layers")
		child := c.step(parent, "workspace")
		if after := c.inodes("layers"); len(after) != len(before) {
			c.Errorf("%d entries became %d", len(before), len(after))
		}
		c.want(child, "workspace", map[string]*Node{"new": file("new")})
	}},
	{name: "long chains show every change and free what they replaced", needs: needsLayers, fn: func(c *check) {
		var ref runner.SnapshotRef
		for i := range 2*manyLayers + 3 {
			before := ref
			ref = c.step(ref, "", Op{Do: Write, Path: fmt.Sprint("workspace/f", i), To: fmt.Sprint(i)},
				Op{Do: Write, Path: "usr/last", To: fmt.Sprint(i)}, Op{Do: Write, Path: "var/lib/last", To: fmt.Sprint(i)})
			c.must(c.driver.Remove(before))
		}
		tree := c.tree(ref, "")
		for i := range 2*manyLayers + 3 {
			if got := tree[fmt.Sprint("workspace/f", i)].Data; got != fmt.Sprint(i) {
				c.Errorf("file %d holds %q", i, got)
			}
		}
		if got := tree["usr/last"].Data; got != fmt.Sprint(2*manyLayers+2) {
			c.Errorf("the last step wrote %q", got)
		}
		entries, err := os.ReadDir(filepath.Join(c.dir, "layers"))
		c.must(err)
		if len(entries) > manyLayers {
			c.Errorf("there are %d layers", len(entries))
		}
	}},
	{name: "flattening leaves no marks of what is gone", needs: needsLayers, fn: func(c *check) {
		flat := c.open(c.T, c.TempDir(), 1)
		ref := flat.step("", "workspace",
			Op{Do: Mkdir, Path: "new"}, Op{Do: Write, Path: "new/gone", To: "x"},
			Op{Do: RemoveAll, Path: "b"}, Op{Do: Mkdir, Path: "b"}, Op{Do: Write, Path: "b/gone", To: "x"},
			Op{Do: Mkdir, Path: "b/new"}, Op{Do: Write, Path: "b/new/gone", To: "x"})
		ref = flat.step(ref, "workspace", Op{Do: Remove, Path: "new/gone"}, Op{Do: Remove, Path: "b/gone"}, Op{Do: Remove, Path: "b/new/gone"})
		flat.want(ref, "workspace", map[string]*Node{
			"new": dir(0o755), "new/gone": nil, "b": dir(0o755), "b/gone": nil, "b/a": nil, "b/new": dir(0o755), "b/new/gone": nil,
		})
	}},
	{name: "many forks at once", fn: func(c *check) {
		parent := c.step("", "workspace", Op{Do: Write, Path: "new", To: "new"})
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				f, err := c.driver.Fork(parent)
				if err != nil {
					c.Error(err)
					return
				}
				ref := runner.SnapshotRef(fmt.Sprint("many", i))
				if err := f.Commit(ref); err != nil {
					c.Error(err)
				}
				if err := c.driver.Remove(ref); err != nil {
					c.Error(err)
				}
			})
		}
		all.Wait()
		c.want(parent, "workspace", map[string]*Node{"new": file("new")})
	}},
	{name: "a full disk commits nothing and says so", fn: fullDisk},
}

// inodes describes everything in a directory of the store.
func (c *check) inodes(dir string) map[string]unix.Stat_t {
	c.Helper()
	found := map[string]unix.Stat_t{}
	roots, err := filepath.Glob(filepath.Join(c.dir, dir))
	c.must(err)
	if len(roots) != 1 {
		c.Fatalf("%s is %v", dir, roots)
	}
	root := roots[0]
	err = filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		st.Atim = unix.Timespec{} // this walk reads, too
		found[p] = st
		return nil
	})
	c.must(err)
	return found
}

// onSmallDisk opens a store on a small file system of its own.
func (c *check) onSmallDisk() (small *check, dir string) {
	if os.Geteuid() != 0 {
		c.Skip("needs root, to mount a small file system")
	}
	const inodes = 300
	dir = c.TempDir()
	c.must(unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=4m,nr_inodes=%d", inodes)))
	c.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			c.Error(err)
		}
	})
	// Another helper, that sees the mount.
	own := &suite{factory: c.factory, props: c.props, helper: startHelper(c.T)}
	return own.open(c.T, dir, 2), dir
}

// fullDisk fills a small file system at every moment of a chain of steps.
func fullDisk(c *check) {
	small, dir := c.onSmallDisk()
	parent := small.step("", "workspace", Op{Do: Write, Path: "one", To: "1"})
	parent = small.step(parent, "workspace", Op{Do: Write, Path: "two", To: "2"})
	want := small.tree(parent, "workspace")
	failures := 0
	for left := range 60 {
		free := small.takeInodes(dir, left)
		f, err := small.driver.Fork(parent)
		if err == nil {
			_, err = small.ask(f, "workspace", Op{Do: Write, Path: "three", To: "3"})
			if err != nil { // of the mount, which is not the store's
				f.Discard()
				err = nil
			} else {
				err = f.Commit("full")
			}
		}
		if err != nil {
			failures++
			small.wantKind(err, runner.KindDiskFull)
			if !strings.Contains(err.Error(), dir) {
				small.Errorf("the error does not say which disk is full: %v", err)
			}
			_, err := small.driver.Fork("full")
			small.wantKind(err, runner.KindSnapshot)
		}
		free()
		if left := small.active(); len(left) > 0 {
			small.Fatalf("left behind: %v", left)
		}
		small.must(small.driver.Remove("full"))
		if d := diff(want, small.tree(parent, "workspace")); d != "" {
			small.Fatal(d)
		}
	}
	if failures == 0 {
		c.Error("the disk was never full")
	}
}

// takeInodes leaves only some inodes of a file system, until it is called back.
func (c *check) takeInodes(dir string, left int) (free func()) {
	c.Helper()
	hoard, err := os.MkdirTemp(dir, "hoard")
	c.must(err)
	var st unix.Statfs_t
	c.must(unix.Statfs(dir, &st))
	for i := range int(st.Ffree) - left {
		c.must(os.WriteFile(filepath.Join(hoard, fmt.Sprint(i)), nil, 0o600))
	}
	return func() { c.must(os.RemoveAll(hoard)) }
}

var _ testing.TB = (*check)(nil)
