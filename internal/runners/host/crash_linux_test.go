package host_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/runner"
)

// stateVariable makes the test binary a program that runs one step.
const stateVariable = "STRATA_TEST_STATE"

// TestVictim is that program. It is killed while its step runs.
func TestVictim(t *testing.T) {
	dir := os.Getenv(stateVariable)
	if dir == "" {
		t.Skip("run by other tests")
	}
	r := newStateDirs().open(t, dir, 0)
	build(t, r, "ephemeral", "echo x > file")
	build(t, r, "kept", "echo x > file")
	keep(t, r, "kept")
	sc := &runner.StepContext{Stdout: os.Stdout, Stderr: os.Stderr, Notice: func(string) {}}
	in := runner.ExecutorInput{
		Step:   script(`trap '' TERM; (setsid sleep 1000 &); sleep 1000 & mkdir d; touch d/f; chmod 0 d; echo ready; wait`),
		Env:    []string{"STRATA_TEST_MARK=" + dir},
		StepID: "victim",
	}
	_, err := r.Execute(context.Background(), sc, in)
	t.Fatal("the step has ended: ", err)
}

func TestKilledStrataLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	victim := exec.Command(os.Args[0], "-test.run", "^TestVictim$")
	victim.Env = append(os.Environ(), stateVariable+"="+dir)
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the victim says %q, %v", line, err)
	}
	r := newStateDirs().open(t, dir, 0)
	if err := r.Sweep(context.Background()); err != nil {
		t.Fatal(err)
	}
	if found := entries(t, dir); len(found) != 2 {
		t.Fatalf("sweeping while the step runs leaves %q, want its room and its lock", found)
	}
	if found := snapshots(t, dir); !slices.Equal(found, []string{"ephemeral", "kept"}) {
		t.Fatalf("sweeping while the runner lives leaves the snapshots %q", found)
	}
	lock, err := os.Open(filepath.Join(dir, "steps", "victim.lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = victim.Wait() // it was killed
	// The supervisor holds the lock until all processes are gone.
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if left := marked("STRATA_TEST_MARK=" + dir); len(left) > 0 {
		t.Errorf("processes outlive Strata: %q", left)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	if err := r.Sweep(context.Background()); err != nil {
		t.Fatal(err)
	}
	if found := entries(t, dir); len(found) != 0 {
		t.Errorf("after the sweep there are %q", found)
	}
	if found := snapshots(t, dir); !slices.Equal(found, []string{"kept"}) {
		t.Errorf("after the sweep there are the snapshots %q, want the kept one", found)
	}
	if found, _ := filepath.Glob(filepath.Join(dir, "owners", "*")); len(found) != 0 {
		t.Errorf("after the sweep there are the lists %q", found)
	}
	if _, out, err := execute(t, r, runner.ExecutorInput{Step: script("cat file"), Parent: "kept"}); err != nil || out != "x\n" {
		t.Errorf("a child of the kept snapshot says %q, %v", out, err)
	}
}

func TestLostSupervisorIsAnErrorAndLeavesNothing(t *testing.T) {
	r := newRunner(t)
	mark := "STRATA_TEST_MARK=" + t.Name()
	in := runner.ExecutorInput{Step: script("(sleep 1000 &); sleep 1000 & kill -KILL $PPID; wait"), Env: []string{mark}}
	_, _, err := execute(t, r, in)
	wantKind(t, err, runner.KindLost)
	for _, p := range marked(mark) {
		var pid int
		if _, err := fmt.Sscan(p, &pid); err != nil {
			t.Fatal(err)
		}
		// Killed processes that are not ours to wait for may take a moment.
		if !diesByItself(pid) {
			t.Errorf("the process %d outlives its step", pid)
		}
	}
}

// diesByItself waits for the end of a process that is nobody's child here.
func diesByItself(pid int) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return true // gone
	}
	defer unix.Close(fd)
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 60_000)
	return err == nil && n == 1
}

func TestSweepRemovesWhatNobodyHolds(t *testing.T) {
	dir := t.TempDir()
	r := newStateDirs().open(t, dir, 0)
	steps := filepath.Join(dir, "steps")
	for _, path := range []string{"dead/workspace/d", "nolock/tmp"} {
		if err := os.MkdirAll(filepath.Join(steps, path), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(steps, "dead/workspace"), 0); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"dead.lock", "nodir.lock"} {
		if err := os.WriteFile(filepath.Join(steps, path), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cache := runner.CacheDecision{Action: runner.MissBuildAs, Ref: "snap"}
	if _, _, err := execute(t, r, runner.ExecutorInput{Step: script("echo x > file"), Cache: cache}); err != nil {
		t.Fatal(err)
	}
	if err := r.Sweep(context.Background()); err != nil {
		t.Fatal(err)
	}
	if found := entries(t, dir); len(found) != 0 {
		t.Errorf("after the sweep there are %q", found)
	}
	if _, out, err := execute(t, r, runner.ExecutorInput{Step: script("cat file"), Parent: "snap"}); err != nil || out != "x\n" {
		t.Errorf("the snapshot after the sweep: %q, %v", out, err)
	}
}

func TestFullDiskIsSaid(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("run as root: only root can mount a small file system")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("run where tmpfs can be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	r := newStateDirs().open(t, dir, 0)
	snap := func(ref runner.SnapshotRef) runner.CacheDecision {
		return runner.CacheDecision{Action: runner.MissBuildAs, Ref: ref}
	}
	result, _, err := execute(t, r, runner.ExecutorInput{Step: script("cat /dev/zero > fill || true"), Cache: snap("full")})
	wantKind(t, err, runner.KindDiskFull)
	if result.Snapshot != "" {
		t.Errorf("the snapshot %q was made on a full disk", result.Snapshot)
	}
	if _, _, err := execute(t, r, runner.ExecutorInput{Step: script("head -c 3000000 /dev/zero > fill"), Cache: snap("parent")}); err != nil {
		t.Fatalf("after a full disk: %v", err)
	}
	_, _, err = execute(t, r, runner.ExecutorInput{Step: script("true"), Parent: "parent"})
	wantKind(t, err, runner.KindDiskFull)
	if err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("the error %v does not say which disk is full", err)
	}
	if found := entries(t, dir); len(found) != 0 {
		t.Errorf("steps left %q", found)
	}
}

// TestOrdinaryUser repeats what may depend on root's power as a user without it.
func TestOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the tests run as an ordinary user already")
	}
	dir, err := os.MkdirTemp("/tmp", "strata-host")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	tmp := filepath.Join(dir, "tmp")
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "host.test"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(tmp, 0o777); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{dir: 0o755, tmp: 0o777} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"-test.run", "^(TestSweep|TestTemporary|TestKilled|TestHome)"},
		{"-test.run", "^TestConformance$/^suite$/^(exit|env|inherit|snapshot|keep|failed|identify|cancel)$", "-test.skip", "^TestConformance$/^suite$/./(limit|timed|chain|returns)"},
	} {
		cmd := exec.Command(filepath.Join(dir, "host.test"), args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
		const nobody = 65534
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("as an ordinary user: %v\n%s", err, out)
		}
	}
}

// entries lists what steps there are.
func entries(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "steps", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// marked returns the IDs of the processes with that variable.
func marked(variable string) []string {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	var found []string
	for _, file := range files {
		if environ, err := os.ReadFile(file); err == nil && strings.Contains(string(environ), variable+"\x00") {
			found = append(found, filepath.Base(filepath.Dir(file)))
		}
	}
	return found
}
