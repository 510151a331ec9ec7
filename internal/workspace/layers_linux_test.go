package workspace_test

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/strata-ci/strata/internal/workspace"
)

// stack applies layers as overlayfs does, with the rules of its documentation
// and not through the kernel.
func stack(t *testing.T, layers []string) map[string]string {
	t.Helper()
	shown := make(map[string]string)
	for _, layer := range slices.Backward(layers) {
		list := tree(t, layer)
		for _, path := range slices.Sorted(maps.Keys(list)) {
			text := list[path]
			if !strings.HasPrefix(text, "d") || !strings.HasPrefix(shown[path], "d") {
				hide(shown, path)
			}
			if !strings.HasPrefix(text, "Dc") { // a whiteout
				shown[path] = text
			}
		}
	}
	return shown
}

func hide(shown map[string]string, path string) {
	for other := range shown {
		if other == path || strings.HasPrefix(other, path+"/") {
			delete(shown, other)
		}
	}
}

// edit changes a tree at random.
func edit(r *rapid.T, root string) {
	path := filepath.Join(root, rapid.SampledFrom([]string{
		"a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "d/e/f", "d/e/f/a", "g", "g/a", "g/h/i", "k\nl", "m\xff",
	}).Draw(r, "path"))
	fail := func(err error) {
		if err != nil {
			r.Fatal(err)
		}
	}
	// walk goes to a directory through no symlink; with make, what is in the
	// way becomes a directory.
	walk := func(dir string, make bool) bool {
		rel, err := filepath.Rel(root, dir)
		fail(err)
		at := root
		for _, name := range strings.Split(rel, "/") {
			at = filepath.Join(at, name)
			if fi, err := os.Lstat(at); err == nil && fi.IsDir() {
				continue
			}
			if !make {
				return false
			}
			fail(os.RemoveAll(at))
			fail(os.Mkdir(at, 0o755))
		}
		return true
	}
	mkdir := func(dir string) { walk(dir, true) }
	_, err := os.Lstat(path)
	there := err == nil && walk(filepath.Dir(path), false)
	switch op := rapid.IntRange(0, 8).Draw(r, "operation"); {
	case op <= 2:
		mkdir(filepath.Dir(path))
		fail(os.RemoveAll(path))
		fail(os.WriteFile(path, []byte(rapid.SampledFrom([]string{"", "x", "y", "long"}).Draw(r, "content")), 0o644))
	case op == 3:
		mkdir(path)
	case op == 4:
		mkdir(filepath.Dir(path))
		fail(os.RemoveAll(path))
		fail(os.Symlink(rapid.SampledFrom([]string{"a", "d", "../a", "nowhere", "."}).Draw(r, "target"), path))
	case op == 5 && there:
		fail(os.RemoveAll(path))
	case op == 6 && there:
		if fi, err := os.Lstat(path); err == nil && fi.Mode()&fs.ModeSymlink == 0 {
			fail(os.Chmod(path, rapid.SampledFrom([]fs.FileMode{0o700, 0o755, 0o777 | fs.ModeSticky}).Draw(r, "mode")))
		}
	case op == 7 && there:
		when := unix.NsecToTimespec(rapid.Int64Range(-1e18, 4e18).Draw(r, "time"))
		fail(unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{when, when}, unix.AT_SYMLINK_NOFOLLOW))
	case op == 8 && there:
		to := filepath.Join(root, rapid.SampledFrom([]string{"a", "n", "o"}).Draw(r, "to"))
		if to != path {
			fail(os.RemoveAll(to))
			fail(os.Rename(path, to))
		}
	}
}

func TestEveryCaptureIsTheTree(t *testing.T) {
	p := newProject(t)
	base, count := t.TempDir(), 0
	rapid.Check(t, func(r *rapid.T) {
		count++
		p.root = filepath.Join(base, fmt.Sprint(count))
		p.state = p.root + "-state"
		must(t, os.Mkdir(p.root, 0o755))
		s := p.open()
		type past struct {
			capture *workspace.Capture
			tree    map[string]string
		}
		var earlier []past
		for range rapid.IntRange(1, 20).Draw(r, "captures") {
			for range rapid.IntRange(0, 4).Draw(r, "edits") {
				edit(r, p.root)
			}
			c, _, err := s.Capture(t.Context())
			must(t, err)
			want := tree(t, p.root)
			same(t, "the stack of layers", want, stack(t, c.Layers()))
			if rapid.IntRange(0, 3).Draw(r, "keep") == 0 {
				earlier = append(earlier, past{c, want})
			} else {
				must(t, c.Close())
			}
		}
		last, _, err := s.Capture(t.Context())
		must(t, err)
		same(t, "the copy", tree(t, p.root), copied(t, last))
		p.state += "-fresh"
		fresh, _, err := p.open().Capture(t.Context())
		must(t, err)
		if fresh.ID() != last.ID() {
			r.Fatalf("the ID is %s after edits, %s for a fresh capture", last.ID(), fresh.ID())
		}
		for _, e := range append(earlier, past{last, tree(t, p.root)}, past{fresh, tree(t, p.root)}) {
			same(t, "an earlier capture, later", e.tree, stack(t, e.capture.Layers()))
			must(t, e.capture.Close())
		}
	})
}

// A capture that trusts what it knows is what one without a past is.
func TestARepeatedCaptureIsAFreshOne(t *testing.T) {
	p := newProject(t)
	base, count := t.TempDir(), 0
	rapid.Check(t, func(r *rapid.T) {
		count++
		p.root = filepath.Join(base, fmt.Sprint(count))
		p.state = p.root + "-state"
		must(t, os.Mkdir(p.root, 0o755))
		must(t, os.MkdirAll(p.path(".git/info"), 0o755))
		s := p.open()
		for i := range rapid.IntRange(2, 6).Draw(r, "captures") {
			for range rapid.IntRange(0, 3).Draw(r, "edits") {
				edit(r, p.root)
			}
			if rapid.IntRange(0, 2).Draw(r, "rules") == 0 {
				name := rapid.SampledFrom([]string{".gitignore", "d/.gitignore", ".strataignore", "d/.strataignore", ".git/info/exclude"}).Draw(r, "file")
				rules := rapid.SampledFrom([]string{"a\n", "d/e\n", "/d/\n", "!a\n", "!/d\n", "g\n!a\n", ".*ignore\n"}).Draw(r, "lines")
				if fi, err := os.Lstat(filepath.Dir(p.path(name))); err == nil && fi.IsDir() {
					must(t, os.WriteFile(p.path(name), []byte(rules), 0o644))
				}
			}
			if rapid.IntRange(0, 4).Draw(r, "wait") == 0 {
				clock := filepath.Join(base, "clock")
				must(t, os.WriteFile(clock, nil, 0o644))
				waitForClock(t, clock)
			}
			c, _, err := s.Capture(t.Context())
			must(t, err)
			fresh := *p
			fresh.state = fmt.Sprint(p.state, i)
			f, _, err := fresh.open().Capture(t.Context())
			must(t, err)
			same(t, "a repeated capture against a fresh one", stack(t, f.Layers()), stack(t, c.Layers()))
			if c.ID() != f.ID() {
				r.Fatalf("the ID is %s, that of a fresh capture %s", c.ID(), f.ID())
			}
			must(t, errors.Join(c.Close(), f.Close()))
		}
	})
}

// helpers are what tests run in processes of their own.
var helpers = map[string]func() error{
	"overlay": overlayHelper,
	"capture": captureHelper,
	"loop":    loopHelper,
	"no mknod": func() error {
		if err := forbidMknod(); err != nil {
			return err
		}
		return captureHelper()
	},
}

// mounted is what the overlay helper answers.
type mounted struct{ Tree map[string]string }

// overlayHelper mounts the layers in its arguments and lists what they show.
func overlayHelper() error {
	dir, layers := os.Args[1], os.Args[2:]
	upper, work, at := filepath.Join(dir, "upper"), filepath.Join(dir, "work"), filepath.Join(dir, "at")
	for _, d := range []string{upper, work, at} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return err
	}
	options := "userxattr,index=off,metacopy=off,redirect_dir=nofollow,lowerdir=" + strings.Join(layers, ":") + ",upperdir=" + upper + ",workdir=" + work
	if err := unix.Mount("overlay", at, "overlay", 0, options); err != nil {
		return fmt.Errorf("mount an overlay with %s: %w", options, err)
	}
	list, err := listTree(at)
	if err != nil {
		return err
	}
	delete(list, ".") // that of the upper directory
	return gob.NewEncoder(os.Stdout).Encode(mounted{list})
}

func mount(t *testing.T, layers []string, flags uintptr) map[string]string {
	t.Helper()
	cmd := exec.Command(os.Args[0], append([]string{t.TempDir()}, layers...)...)
	cmd.Env = append(os.Environ(), "STRATA_TEST_HELPER=overlay", "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: flags,
	}
	if flags&syscall.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	var m mounted
	decodeErr := gob.NewDecoder(out).Decode(&m)
	if err := cmd.Wait(); err != nil || decodeErr != nil {
		t.Fatalf("list an overlay mount (this test needs root or user namespaces): %v, %v\n%s", err, decodeErr, stderr.String())
	}
	return m.Tree
}

func TestTheKernelStacksTheLayers(t *testing.T) {
	p := newProject(t)
	random := rand.New(rand.NewPCG(1, 2))
	var captures []*workspace.Capture
	var trees []map[string]string
	for round := range 12 {
		for range 8 {
			name := fmt.Sprintf("d%d/f%d", random.IntN(4), random.IntN(4))
			switch random.IntN(4) {
			case 0:
				must(t, os.RemoveAll(p.path(filepath.Dir(name))))
			case 1:
				must(t, os.RemoveAll(p.path(filepath.Dir(name))))
				p.write(filepath.Dir(name), "now a file")
			default:
				if fi, err := os.Lstat(p.path(filepath.Dir(name))); err == nil && !fi.IsDir() {
					must(t, os.Remove(p.path(filepath.Dir(name))))
				}
				p.write(name, fmt.Sprint(round, random.IntN(3)))
			}
		}
		c, _ := p.capture()
		now := tree(t, p.root)
		delete(now, ".")
		captures, trees = append(captures, c), append(trees, now)
	}
	deepest := 0
	for i, c := range captures {
		deepest = max(deepest, len(c.Layers()))
		if os.Geteuid() == 0 {
			same(t, "the mount as root", trees[i], mount(t, c.Layers(), syscall.CLONE_NEWNS))
		}
		same(t, "the mount in a user namespace", trees[i], mount(t, c.Layers(), syscall.CLONE_NEWNS|syscall.CLONE_NEWUSER))
	}
	if deepest < 5 || deepest > 9 {
		t.Errorf("the highest stack has %d layers", deepest)
	}
}

func TestOldLayersGoOnceNobodyHoldsThem(t *testing.T) {
	p := newProject(t)
	for i := range 40 {
		p.write(fmt.Sprint("still", i), "still")
	}
	p.write("f", "0")
	s := p.open()
	first, _, err := s.Capture(t.Context())
	must(t, err)
	want := stack(t, first.Layers())
	for i := range 60 {
		for f := range 1 + i%7*5 {
			p.write(fmt.Sprint("f", f), fmt.Sprint(i))
		}
		c, _, err := s.Capture(t.Context())
		must(t, err)
		if n := len(c.Layers()); n > 8 {
			t.Fatalf("%d layers", n)
		}
		must(t, c.Close())
	}
	same(t, "a capture that is held", want, stack(t, first.Layers()))
	must(t, first.Close())
	last, _, err := s.Capture(t.Context())
	must(t, err)
	defer last.Close()
	left, err := os.ReadDir(filepath.Join(p.state, "layers"))
	must(t, err)
	if len(left) != len(last.Layers()) {
		t.Errorf("%d layers on disk, %d in use", len(left), len(last.Layers()))
	}
}

func TestFilesThatAreNoFiles(t *testing.T) {
	p := newProject(t)
	p.write("real", "")
	must(t, unix.Mkfifo(p.path("fifo"), 0o644))
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.Bind(fd, &unix.SockaddrUnix{Name: p.path("socket")}))
	must(t, unix.Mkfifo(p.path(".gitignore"), 0o644))
	c, stats := p.capture()
	if got := strings.Join(paths(c), " "); got != "real" {
		t.Errorf("captured %q", got)
	}
	if stats.Skipped != 3 || strings.Join(stats.SkippedNames, " ") != ".gitignore fifo socket" {
		t.Errorf("skipped %d: %q", stats.Skipped, stats.SkippedNames)
	}
}

func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small tmpfs needs root: run this test as root")
	}
	p := newProject(t)
	small := t.TempDir()
	must(t, unix.Mount("tmpfs", small, "tmpfs", 0, "size=1m"))
	t.Cleanup(func() { must(t, unix.Unmount(small, unix.MNT_DETACH)) })
	p.state = filepath.Join(small, "state")
	p.write("a", "small")
	before, _ := p.capture()
	want := stack(t, before.Layers())
	full := func() {
		t.Helper()
		err := p.captureError()
		if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), p.state) {
			t.Fatalf("a full disk: %v", err)
		}
		same(t, "the capture from before", want, stack(t, before.Layers()))
		for dir, want := range map[string]int{p.state: 3, filepath.Join(p.state, "layers"): 1} {
			left, err := os.ReadDir(dir)
			must(t, err)
			if len(left) != want {
				t.Errorf("in %s there are %v", dir, left)
			}
		}
	}
	p.write("big", strings.Repeat("x", 2<<20))
	full() // in the layer
	full()
	must(t, os.Remove(p.path("big")))
	must(t, os.Mkdir(p.path("many"), 0o755))
	for i := range 12_000 {
		must(t, os.WriteFile(p.path(fmt.Sprint("many/", i)), nil, 0o644))
	}
	full() // in the index
	must(t, os.RemoveAll(p.path("many")))
	p.write("b", "")
	after, stats := p.capture()
	if stats.Changed != 1 || len(after.Layers()) != 2 {
		t.Errorf("after the disk was full: %+v, %d layers", stats, len(after.Layers()))
	}
}
