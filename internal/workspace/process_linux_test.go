package workspace_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/internal/workspace"
)

// captureHelper captures once, prints the ID, and holds the capture until its
// standard input ends.
func captureHelper() error {
	s, err := workspace.Open(os.Args[1], os.Args[2], workspace.Options{})
	if err != nil {
		return err
	}
	c, _, err := s.Capture(context.Background())
	if err != nil {
		return err
	}
	fmt.Println(c.ID())
	_, err = bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil {
		err = c.Close()
	}
	return err
}

// loopHelper edits and captures a tree until it is killed.
func loopHelper() error {
	for i := 0; ; i++ {
		s, err := workspace.Open(os.Args[1], os.Args[2], workspace.Options{})
		if err != nil {
			return err
		}
		for f := range 20 {
			if err := os.WriteFile(filepath.Join(os.Args[2], fmt.Sprint("f", (i+f)%30)), fmt.Append(nil, i), 0o644); err != nil {
				return err
			}
		}
		if err := os.RemoveAll(filepath.Join(os.Args[2], fmt.Sprint("f", i%30))); err != nil {
			return err
		}
		c, _, err := s.Capture(context.Background())
		if err != nil {
			return err
		}
		fmt.Println(c.ID())
		if err := c.Close(); err != nil {
			return err
		}
	}
}

// helper starts one and returns its output to read.
func (p *project) helper(name string, as *syscall.Credential) (*exec.Cmd, *bufio.Reader, *strings.Builder) {
	p.t.Helper()
	exe, err := os.Executable()
	must(p.t, err)
	cmd := exec.Command(exe, p.state, p.root)
	if as != nil {
		// An ordinary user may not be able to reach the test's own program.
		f, err := os.Open(exe)
		must(p.t, err)
		defer f.Close()
		cmd.ExtraFiles = []*os.File{f}
		cmd.Path = "/proc/self/fd/3"
	}
	cmd.Env = append(os.Environ(), "STRATA_TEST_HELPER="+name, "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	stderr := new(strings.Builder)
	cmd.Stderr = stderr
	out, err := cmd.StdoutPipe()
	must(p.t, err)
	_, err = cmd.StdinPipe()
	must(p.t, err)
	must(p.t, cmd.Start())
	return cmd, bufio.NewReader(out), stderr
}

func TestACrashLeavesNothingBehind(t *testing.T) {
	p := newProject(t)
	for round := range 15 {
		cmd, out, stderr := p.helper("loop", nil)
		for range 1 + round%4 {
			if _, err := out.ReadString('\n'); err != nil {
				t.Fatalf("%v: %s", err, stderr)
			}
		}
		must(t, cmd.Process.Kill())
		if err := cmd.Wait(); err == nil {
			t.Fatal("the helper ended by itself")
		}
		c, _, err := p.open().Capture(t.Context())
		must(t, err)
		same(t, "the capture after a crash", tree(t, p.root), stack(t, c.Layers()))
		for dir, want := range map[string]int{p.state: 3, filepath.Join(p.state, "layers"): len(c.Layers())} {
			left, err := os.ReadDir(dir)
			must(t, err)
			if len(left) != want {
				t.Errorf("in %s there are %v", dir, left)
			}
		}
		must(t, c.Close())
	}
}

func TestAnotherProcessKeepsItsLayers(t *testing.T) {
	p := newProject(t)
	p.write("f", "0")
	cmd, out, stderr := p.helper("capture", nil)
	if _, err := out.ReadString('\n'); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	first := filepath.Join(p.state, "layers", "1", "tree")
	for i := range 12 {
		p.write("f", strings.Repeat("x", i+2))
		c, _, err := p.open().Capture(t.Context())
		must(t, err)
		must(t, c.Close())
	}
	if _, err := os.Lstat(first); err != nil {
		t.Errorf("the other process's layer: %v", err)
	}
	must(t, cmd.Process.Kill())
	if err := cmd.Wait(); err == nil {
		t.Fatal("the helper ended by itself")
	}
	p.capture()
	if _, err := os.Lstat(first); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the layer is still there after the process died: %v", err)
	}
}

func TestCapturesOfOneProjectWaitForEachOther(t *testing.T) {
	p := newProject(t)
	for i := range 50 {
		p.write(fmt.Sprint("f", i), fmt.Sprint(i))
	}
	ids := make([]string, 8)
	var group errgroup.Group
	for i := range ids {
		s := p.open()
		group.Go(func() error {
			c, _, err := s.Capture(t.Context())
			if err != nil {
				return err
			}
			ids[i] = c.ID()
			return c.Close()
		})
	}
	must(t, group.Wait())
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("IDs of one tree: %q", ids)
		}
	}

	lock, err := os.OpenFile(filepath.Join(p.state, "lock"), os.O_RDWR, 0)
	must(t, err)
	must(t, unix.Flock(int(lock.Fd()), unix.LOCK_EX))
	ctx, cancel := context.WithCancel(t.Context())
	group.Go(func() error {
		c, _, err := p.open().Capture(ctx)
		if err == nil {
			return errors.Join(errors.New("two captures at once"), c.Close())
		}
		if !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	})
	cancel()
	must(t, group.Wait())
	must(t, lock.Close())
	p.capture()
}

// asUser captures as an ordinary user, whom permissions hold back.
func (p *project) asUser() error {
	p.t.Helper()
	var as *syscall.Credential
	if os.Geteuid() == 0 {
		as = &syscall.Credential{Uid: 12345, Gid: 12345}
		for dir := p.root; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
			must(p.t, os.Chmod(dir, 0o755))
		}
		must(p.t, os.MkdirAll(p.state, 0o755))
		for dir := p.state; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
			must(p.t, os.Chmod(dir, 0o755))
		}
		for _, dir := range []string{p.root, p.state} {
			must(p.t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				return os.Lchown(path, 12345, 12345)
			}))
		}
	}
	cmd, out, stderr := p.helper("capture", as)
	_, readErr := out.ReadString('\n')
	must(p.t, cmd.Process.Kill())
	if err := cmd.Wait(); err == nil {
		p.t.Fatal("the helper ended by itself")
	}
	if readErr != nil {
		return errors.New(stderr.String())
	}
	return nil
}

func TestUnreadableFilesAreNamedAllAtOnce(t *testing.T) {
	p := newProject(t)
	for _, name := range []string{"readable", "secret", "d/secret", "closed/in", "half/in"} {
		p.write(name, "x")
	}
	for name, mode := range map[string]fs.FileMode{"secret": 0, "d/secret": 0o200, "closed": 0o300, "half": 0o600} {
		must(t, os.Chmod(p.path(name), mode))
	}
	err := p.asUser()
	if err == nil {
		t.Fatal("the capture succeeded")
	}
	const want = "cannot read 4 entries of the working tree ROOT: closed/, d/secret, half/, secret; " +
		"make them readable (chmod u+rX PATH), or list them in .strataignore"
	if got := strings.ReplaceAll(err.Error(), p.root, "ROOT"); !strings.Contains(got, want) {
		t.Errorf("the error is\n%s\nwant\n%s", got, want)
	}
	p.write(".strataignore", "secret\n/closed\n/half\n")
	must(t, p.asUser())
}

func TestReadOnlyDirectoriesOfAnOrdinaryUser(t *testing.T) {
	p := newProject(t)
	p.write("locked/deep/f", "x")
	p.write("f", "")
	must(t, os.Chmod(p.path("locked/deep/f"), 0o400))
	for i := range 24 {
		must(t, os.Chmod(p.path("locked"), 0o755))
		must(t, os.Chmod(p.path("locked/deep"), 0o755))
		p.write("f", strings.Repeat("x", i))
		p.write(fmt.Sprint("locked/deep/g", i%3), strings.Repeat("x", i))
		must(t, os.Chmod(p.path("locked/deep"), 0o555))
		must(t, os.Chmod(p.path("locked"), 0o500))
		must(t, p.asUser())
	}
	must(t, os.Chmod(p.path("locked"), 0o755))
	must(t, os.Chmod(p.path("locked/deep"), 0o755))
	left, err := os.ReadDir(filepath.Join(p.state, "layers"))
	must(t, err)
	if len(left) > 8 {
		t.Errorf("%d layers are left: %v", len(left), left)
	}
}

func TestAFileThatKeepsChanging(t *testing.T) {
	p := newProject(t)
	p.write("busy", strings.Repeat("x", 4<<20))
	f, err := os.OpenFile(p.path("busy"), os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	var stop atomic.Bool
	var writer errgroup.Group
	writer.Go(func() error {
		for !stop.Load() {
			if _, err := f.WriteAt([]byte("y"), 0); err != nil {
				return err
			}
		}
		return nil
	})
	// A capture may succeed while the writer is not given a processor.
	for err = nil; err == nil && t.Context().Err() == nil; {
		var c *workspace.Capture
		if c, _, err = p.open().Capture(t.Context()); err == nil {
			must(t, c.Close())
		}
	}
	stop.Store(true)
	must(t, writer.Wait())
	if !strings.Contains(err.Error(), "busy kept changing while it was captured: stop what writes to it, or list it in .strataignore") {
		t.Errorf("the error is %v", err)
	}
	p.capture()
}

// forbidMknod makes this process's mknod fail, as some file systems' does.
func forbidMknod() error {
	return seccomp.LoadFilter(seccomp.Filter{
		NoNewPrivs: true,
		Flag:       seccomp.FilterFlagTSync,
		Policy: seccomp.Policy{
			DefaultAction: seccomp.ActionAllow,
			Syscalls:      []seccomp.SyscallGroup{{Action: seccomp.ActionErrno, Names: []string{"mknodat"}}},
		},
	})
}

func TestWithoutWhiteoutsEveryLayerIsWhole(t *testing.T) {
	p := newProject(t)
	for _, name := range []string{"a", "d/b", "c"} {
		p.write(name, name)
	}
	for _, change := range []func() error{
		func() error { return nil },
		func() error { return os.RemoveAll(p.path("d")) },
		func() error { return os.WriteFile(p.path("d"), nil, 0o644) },
	} {
		must(t, change())
		cmd, out, stderr := p.helper("no mknod", nil)
		if _, err := out.ReadString('\n'); err != nil {
			t.Fatalf("%v: %s", err, stderr)
		}
		c, stats := p.capture()
		if stats.Changed != 0 || len(c.Layers()) != 1 {
			t.Errorf("%d layers, then %+v", len(c.Layers()), stats)
		}
		same(t, "the only layer", tree(t, p.root), stack(t, c.Layers()))
		must(t, cmd.Process.Kill())
		if err := cmd.Wait(); err == nil {
			t.Fatal("the helper ended by itself")
		}
	}
}
