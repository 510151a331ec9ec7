//go:build linux

package sandbox

import (
	"context"
	"errors"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// needCgroups skips the test where these limits cannot be set.
func needCgroups(t *testing.T, l Limits) *Cgroups {
	t.Helper()
	g, err := OpenCgroups()
	if err == nil {
		err = g.Check(l)
	}
	if err != nil {
		t.Skip(err)
	}
	return g
}

// groupsOf lists the groups of this process.
func groupsOf(t *testing.T, g *Cgroups) []string {
	t.Helper()
	var all []string
	for _, parent := range g.parents {
		found, err := filepath.Glob(filepath.Join(parent, groupName(os.Getpid(), "[0-9]*")))
		must(t, err)
		all = append(all, found...)
	}
	return all
}

func limited(s Spec, l Limits) Spec {
	s.Limits = l
	return s
}

// eat takes 64 MiB of memory.
const eat = "dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null"

func TestMemoryLimit(t *testing.T) {
	limits := Limits{Memory: 32 << 20}
	b := newBox(t, needCgroups(t, limits))
	cases := []struct {
		script string
		want   Result
	}{
		{"exec " + eat, Result{ExitCode: -1, Signal: unix.SIGKILL, OutOfMemory: true}},
		{eat + "; exit 3", Result{ExitCode: 3, OutOfMemory: true}},
		{eat + "; exit 0", Result{}}, // it knew how to go on
		{"exit 3", Result{ExitCode: 3}},
		{"kill -KILL $$", Result{ExitCode: -1, Signal: unix.SIGKILL}},
		{"dd if=/dev/zero of=/dev/shm/x bs=1M count=64 2>/dev/null; exit 3", Result{ExitCode: 3, OutOfMemory: true}},
	}
	for _, c := range cases {
		out, got := b.run(limited(b.spec(sh(c.script)...), limits))
		if got.ExitCode != c.want.ExitCode || got.Signal != c.want.Signal || got.OutOfMemory != c.want.OutOfMemory {
			t.Errorf("%s: %+v %s", c.script, got, out)
		}
		b.output(b.spec(sh(eat)...)) // the limit was that command's own
	}
}

// What earlier commands left in memory is not a later one's.
func TestMemoryOfEarlierCommandsDoesNotCount(t *testing.T) {
	limits := Limits{Memory: 32 << 20}
	b := newBox(t, needCgroups(t, limits))
	memory := filepath.Join(b.dir, "memory")
	must(t, os.Mkdir(memory, 0o777))
	if err := unix.Mount("tmpfs", memory, "tmpfs", 0, "size=64m"); err != nil {
		t.Skipf("mount a tmpfs: %v: run this test as root", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(memory, unix.MNT_DETACH)) })
	for range 3 {
		spec := limited(b.spec(sh("dd if=/dev/zero of=/data/$$ bs=1M count=16 2>/dev/null")...), limits)
		spec.Mounts = append(spec.Mounts, Mount{Target: "data", Source: memory})
		if out, result := b.run(spec); result.ExitCode != 0 || result.OutOfMemory {
			t.Fatalf("%+v %s", result, out)
		}
	}
}

func TestCPULimit(t *testing.T) {
	limits := Limits{CPUs: 0.1}
	g := needCgroups(t, limits)
	b := newBox(t, g)
	throttled := func(l Limits) int {
		own, err := g.newGroup(l)
		must(t, err)
		defer func() { must(t, g.remove(own)) }()
		r, w, err := os.Pipe()
		must(t, err)
		defer r.Close()
		spec := limited(b.spec(sh("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done")...), l)
		result, err := b.cell.runIn(context.Background(), own, spec, Output{Out: w, Err: w}, Control{})
		w.Close()
		must(t, err)
		if result.ExitCode != 0 {
			t.Fatalf("%+v", result)
		}
		text, err := os.ReadFile(filepath.Join(own.dirs[controlCPU], "cpu.stat"))
		must(t, err)
		n, err := counter(string(text), "nr_throttled")
		must(t, err)
		return n
	}
	if throttled(limits) == 0 {
		t.Error("a tenth of a CPU was not kept to")
	}
	if throttled(Limits{CPUs: 64}) != 0 {
		t.Error("one thread has used more than 64 CPUs")
	}
}

func TestProcessLimit(t *testing.T) {
	limits := Limits{Processes: 10}
	b := newBox(t, needCgroups(t, limits))
	const start = "n=0; while [ $n -lt %; do n=$((n+1)); sleep 1000 & done; echo all"
	script := func(n string) []string { return sh(strings.ReplaceAll(start, "%", n+" ]")) }
	if out, result := b.run(limited(b.spec(script("9")...), limits)); result.ExitCode != 0 || out != "all\n" {
		t.Errorf("10 processes of 10: %+v %s", result, out)
	}
	if out, result := b.run(limited(b.spec(script("10")...), limits)); result.ExitCode == 0 || !strings.Contains(out, "fork") {
		t.Errorf("11 processes of 10: %+v %s", result, out)
	}
	b.output(b.spec(script("40")...)) // the limit was that command's own
}

func TestDefaultProcessLimit(t *testing.T) {
	g := needCgroups(t, Limits{Processes: 1})
	b := newBox(t, g)
	b.output(b.spec("true"))
	text, err := os.ReadFile(filepath.Join(b.cell.group.dirs[controlPids], "pids.max"))
	must(t, err)
	want := "16384\n"
	if !g.unified {
		want = "16385\n" // and the cell's thread
	}
	if string(text) != want {
		t.Errorf("%q", text)
	}
}

func TestGroupsEndWithTheCell(t *testing.T) {
	limits := Limits{Processes: 20}
	g := needCgroups(t, limits)
	b := newBox(t, g)
	for range 5 {
		b.output(b.spec("true"))
		b.output(limited(b.spec("true"), limits))
	}
	if n := len(groupsOf(t, g)); n == 0 || n > 3 {
		t.Errorf("%d groups are in use, want that of the cell and at most the last command's", n)
	}
	b.close()
	if left := groupsOf(t, g); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestUnusableLimits(t *testing.T) {
	g := &Cgroups{parents: map[controller]string{controlPids: "/nowhere"}, why: errors.New("for a reason")}
	for _, l := range []Limits{{CPUs: 1}, {Memory: 1}, {CPUs: -1}, {CPUs: math.NaN()}, {Memory: -1}, {Processes: -1}} {
		if err := g.Check(l); err == nil {
			t.Errorf("%+v is taken", l)
		}
	}
	if err := g.Check(Limits{Memory: 1}); err.Error() != "no memory limit can be set: for a reason" {
		t.Error(err)
	}
	if err := g.Check(Limits{Processes: 5}); err != nil {
		t.Error(err)
	}
}

func TestSweep(t *testing.T) {
	// A place of its own: whatever else runs on this machine sweeps too.
	parent, err := os.MkdirTemp(needCgroups(t, Limits{Processes: 1}).parents[controlPids], "sweep-test-")
	must(t, err)
	defer os.Remove(parent)
	g := &Cgroups{parents: map[controller]string{controlPids: parent}}
	dead := exec.Command("true")
	must(t, dead.Run())
	group := func(owner int, name string) string {
		dir := filepath.Join(parent, groupName(owner, name))
		must(t, os.Mkdir(dir, 0o755))
		return dir
	}
	left, full := group(dead.Process.Pid, "1"), group(dead.Process.Pid, "2")
	living, foreign := group(os.Getpid(), "1"), filepath.Join(parent, "other-1-1")
	must(t, os.Mkdir(foreign, 0o755))

	there := func(dir string) bool { _, err := os.Stat(dir); return err == nil }
	sleeper := exec.Command("sleep", "1000")
	must(t, sleeper.Start())
	defer func() { _ = sleeper.Process.Kill() }()
	must(t, writeControl(filepath.Join(full, "cgroup.procs"), strconv.Itoa(sleeper.Process.Pid)))
	must(t, g.Sweep())
	if there(left) || !there(full) || !there(living) || !there(foreign) {
		t.Errorf("empty: %v, with a process: %v, of a living owner: %v, foreign: %v", there(left), there(full), there(living), there(foreign))
	}
	must(t, sleeper.Process.Kill())
	_ = sleeper.Wait() // it was killed
	must(t, g.Sweep())
	if there(full) {
		t.Error("a group is there, although its last process is gone")
	}
	must(t, errors.Join(os.Remove(living), os.Remove(foreign)))
}

func TestGroupNames(t *testing.T) {
	for name, want := range map[string]int{
		"strata-12-1": 12, "strata-12-self": 12, "strata-12-probe99": 12, "strata-12": 0, "strata--1": 0, "strata-0-1": 0,
		"strata-+1-1": 0, "strata-01-1": 0, "strata-x-1": 0, "strata-99999999999999999999-1": 0, "other-12-1": 0, "strata": 0,
	} {
		if got, ok := groupOwner(name); got != want || ok != (want > 0) {
			t.Errorf("%s: %d, %v", name, got, ok)
		}
	}
}

func TestSettings(t *testing.T) {
	l := Limits{CPUs: 0.5, Memory: 1 << 20, Processes: 10}
	want1 := []setting{
		{controlCPU, "cpu.cfs_period_us", "100000", 0},
		{controlCPU, "cpu.cfs_quota_us", "50000", unix.EINVAL},
		{controlMemory, "memory.limit_in_bytes", "1048576", 0},
		{controlMemory, "memory.memsw.limit_in_bytes", "1048576", unix.ENOENT},
		{controlPids, "pids.max", "11", 0},
	}
	want2 := []setting{
		{controlCPU, "cpu.max", "50000 100000", 0},
		{controlMemory, "memory.max", "1048576", 0},
		{controlMemory, "memory.swap.max", "0", unix.ENOENT},
		{controlPids, "pids.max", "10", 0},
	}
	if got := settings1(l); !reflect.DeepEqual(got, want1) {
		t.Errorf("version 1: %v", got)
	}
	if got := settings2(l); !reflect.DeepEqual(got, want2) {
		t.Errorf("version 2: %v", got)
	}
	if got := append(settings1(Limits{}), settings2(Limits{})...); len(got) != 0 {
		t.Errorf("no limits: %v", got)
	}
	for cpus, want := range map[float64]string{0.001: "1000", 0.01: "1000", 1.5: "150000", 4096: "409600000"} {
		if got := cpuQuota(cpus); got != want {
			t.Errorf("%v CPUs: %s", cpus, got)
		}
	}
}

func TestCounter(t *testing.T) {
	for text, want := range map[string]int{
		"oom 1\noom_kill 3\noom_group_kill 5\n": 3, "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n": 2, "oom_kill 7": 7,
	} {
		if n, err := counter(text, "oom_kill"); n != want || err != nil {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
	for _, text := range []string{"", "oom_kill_disable 1\n", "oom_kill x\n", "oom_kill\n"} {
		if n, err := counter(text, "oom_kill"); err == nil {
			t.Errorf("%q: %d", text, n)
		}
	}
}

func TestLocate(t *testing.T) {
	v1 := func(point, root, options string) *mountinfo.Info {
		return &mountinfo.Info{FSType: "cgroup", Mountpoint: point, Root: root, VFSOptions: options}
	}
	v2 := func(point, root string) *mountinfo.Info {
		return &mountinfo.Info{FSType: "cgroup2", Mountpoint: point, Root: root, VFSOptions: "rw,nsdelegate"}
	}
	cases := map[string]struct {
		mounts  []*mountinfo.Info
		own     string
		legacy  map[controller]string
		unified place
	}{
		"unified": {
			[]*mountinfo.Info{v2("/sys/fs/cgroup", "/")},
			"0::/user.slice/a b:c.scope\n",
			map[controller]string{},
			place{"/sys/fs/cgroup", "/sys/fs/cgroup/user.slice/a b:c.scope"},
		},
		"hybrid": {
			[]*mountinfo.Info{v1("/c/cpu,cpuacct", "/", "rw,cpu,cpuacct"), v1("/c/memory", "/", "rw,memory"), v1("/c/cpuset", "/", "rw,cpuset"), v2("/c/unified", "/")},
			"4:memory:/m\n3:cpu,cpuacct:/\n2:cpuset:/\n1:name=systemd:/s\n0::/u\n",
			map[controller]string{controlMemory: "/c/memory/m", controlCPU: "/c/cpu,cpuacct"},
			place{"/c/unified", "/c/unified/u"},
		},
		"a container's part": {
			[]*mountinfo.Info{v1("/c/memory", "/docker/1", "rw,memory"), v2("/c/unified", "/docker/1")},
			"4:memory:/docker/1/x\n0::/docker/1\n",
			map[controller]string{controlMemory: "/c/memory/x"},
			place{"/c/unified", "/c/unified"},
		},
		"another container's part": {
			[]*mountinfo.Info{v1("/c/memory", "/docker/1", "rw,memory"), v2("/c/unified", "/docker/1")},
			"4:memory:/docker/2\n0::/docker/12\n",
			map[controller]string{},
			place{},
		},
		"outside of the namespace": {
			[]*mountinfo.Info{v1("/c/memory", "/..", "rw,memory"), v2("/c/unified", "/")},
			"4:memory:/\n0::/../other\n",
			map[controller]string{},
			place{},
		},
		"nothing": {nil, "garbage\n\n1:x\n", map[controller]string{}, place{}},
	}
	for name, c := range cases {
		legacy, unified := locate(c.mounts, parseOwnGroups(c.own))
		if !reflect.DeepEqual(legacy, c.legacy) || unified != c.unified {
			t.Errorf("%s: %v, %v", name, legacy, unified)
		}
	}
}

// unifiedGroup makes a group of version 2. Where the machine has version 1 too,
// there are no controllers to limit with, but commands are put into it all the same.
func unifiedGroup(t *testing.T) (*Cgroups, *group) {
	t.Helper()
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup2"))
	must(t, err)
	text, err := os.ReadFile("/proc/self/cgroup")
	must(t, err)
	_, at := locate(mounts, parseOwnGroups(string(text)))
	if at.own == "" {
		t.Skip("this machine has no cgroup2 file system mounted: run this test as root where it has")
	}
	g := &Cgroups{unified: true, parents: map[controller]string{controlPids: at.own}}
	own, err := g.makeDirs(Limits{})
	if err != nil {
		t.Skipf("%v: run this test as root", err)
	}
	must(t, own.openDoors(true))
	return g, own
}

func TestUnifiedGroupWithoutControllers(t *testing.T) {
	g, own := unifiedGroup(t)
	b := newBox(t, g)
	name := filepath.Base(own.dirs[controlPids])
	for _, nested := range []bool{false, true} {
		for range 5 {
			r, w, err := os.Pipe()
			must(t, err)
			spec := b.spec(sh("cat /proc/self/cgroup; /probe " + probeArg + " threads; /probe " + probeArg + " calls | grep clone3")...)
			spec.Nested = nested
			result, err := b.cell.runIn(context.Background(), own, spec, Output{Out: w, Err: w}, Control{})
			w.Close()
			must(t, err)
			out, err := io.ReadAll(r)
			must(t, err)
			r.Close()
			clone3 := "clone3 ENOSYS"
			if nested {
				clone3 = "clone3 EINVAL"
			}
			for _, want := range []string{"/" + name + "\n", "threads ok", clone3} {
				if result.ExitCode != 0 || !strings.Contains(string(out), want) {
					t.Fatalf("nested %v: no %q in %s (%+v)", nested, want, out, result)
				}
			}
		}
	}
	// The owner is asked to let a process be made that then is not.
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	_, err = b.cell.runIn(context.Background(), own, b.spec("true", "a\x00b"), Output{Out: w, Err: w}, Control{})
	w.Close()
	var failed *Error
	if !errors.As(err, &failed) || failed.Errno != unix.EINVAL {
		t.Error(err)
	}
	must(t, g.remove(own))
	if left := groupsOf(t, g); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
