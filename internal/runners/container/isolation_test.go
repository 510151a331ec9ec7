//go:build linux

package container

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// lab runs steps of one runner.
type lab struct {
	*testing.T
	runner *Runner
	steps  int
}

func newLab(t *testing.T, opts Options) *lab {
	t.Helper()
	if opts.StateDir == "" {
		opts.StateDir = t.TempDir()
	}
	return &lab{T: t, runner: open(t, opts)}
}

// sh runs a script and returns its output and result.
func (l *lab) sh(script string, change ...func(*runner.ExecutorInput)) (string, runner.StepResult, error) {
	l.Helper()
	l.steps++
	in := runner.ExecutorInput{
		Step: pipeline.Step{Name: "s", Command: pipeline.Command{Shell: script}}, RunID: "r", StepID: fmt.Sprintf("r.%d", l.steps),
	}
	for _, c := range change {
		c(&in)
	}
	var out bytes.Buffer
	result, err := l.runner.Execute(context.Background(), &runner.StepContext{Stdout: &out, Stderr: &out, Notice: func(string) {}}, in)
	return out.String(), result, err
}

// must runs a script that has to pass.
func (l *lab) must(script string, change ...func(*runner.ExecutorInput)) string {
	l.Helper()
	out, result, err := l.sh(script, change...)
	if err != nil || !result.Passed() {
		l.Fatalf("%s\nended with %+v, %v and the output\n%s", script, result, err, out)
	}
	return out
}

func withArgs(v any) func(*runner.ExecutorInput) {
	return func(in *runner.ExecutorInput) {
		data, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		in.Step.RunnerArgs = data
	}
}

func TestTheMachineIsOutOfReach(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("as an ordinary user, the kernel keeps most of these files away too")
	}
	inBoth(t, theMachineIsOutOfReach)
}

func theMachineIsOutOfReach(t *testing.T, opts Options) {
	state := t.TempDir()
	opts.StateDir, opts.Private = state, []string{"/etc/ssl"}
	l := newLab(t, opts)
	for _, path := range []string{
		"/etc/ssl", "/etc/shadow", "/etc/gshadow", "/run/docker.sock", "/var/run/docker.sock",
		state, "/proc/kcore", "/home/*", "/root/.*[a-z]*", "/var/tmp/*", "/tmp/*", "/dev/sd*", "/dev/vd*", "/dev/kmsg", "/dev/mem",
	} {
		l.must(fmt.Sprintf(`for p in %s; do
			if [ -d "$p" ] && [ -n "$(ls -A "$p")" ] || [ ! -d "$p" ] && [ -s "$p" ]; then echo "$p is visible"; exit 1; fi
		done`, path))
	}
	marker := "strata-test-marker"
	for _, dir := range []string{"/etc", "/usr", "/var", "/tmp", "/root", "/opt", "/"} {
		l.must("touch " + filepath.Join(dir, marker) + " 2>/dev/null || true")
		if _, err := os.Lstat(filepath.Join(dir, marker)); err == nil {
			t.Errorf("a step has written to the machine's %s", dir)
		}
	}
	if out := l.must("cat /proc/sys/kernel/hostname; hostname"); out != "strata\nstrata\n" {
		t.Errorf("host name %q", out)
	}
	out, _, _ := l.sh("echo 1 > /proc/sys/kernel/panic")
	if !strings.Contains(out, "Read-only") && !strings.Contains(out, "denied") {
		t.Errorf("a step can change the kernel's settings: %q", out)
	}
}

func TestNetworkNone(t *testing.T) {
	l := newLab(t, Options{})
	out := l.must("cat /proc/net/dev | tail -n +3 | cut -d: -f1 | tr -d ' '", func(in *runner.ExecutorInput) { in.Step.Network = pipeline.NetworkNone })
	if out != "lo\n" {
		t.Errorf("devices %q, want lo alone", out)
	}
}

func TestHostPaths(t *testing.T) { inBoth(t, hostPaths) }

func hostPaths(t *testing.T, opts Options) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tool"), []byte("#!/bin/sh\necho used\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	l := newLab(t, opts)
	if out := l.must(dir+"/tool", withArgs(map[string]any{"host_paths": []string{dir}})); out != "used\n" {
		t.Errorf("output %q", out)
	}
	if out, result, _ := l.sh("touch "+dir+"/new", withArgs(map[string]any{"host_paths": []string{dir}})); result.Passed() {
		t.Errorf("a step can write to a path of the machine: %s", out)
	}
	_, _, err := l.sh("true", withArgs(map[string]any{"host_paths": []string{filepath.Join(dir, "missing")}}))
	var infra *runner.InfraError
	if !errors.As(err, &infra) || !strings.Contains(err.Error(), "missing") {
		t.Errorf("a missing path gives %v", err)
	}
}

func TestValidateStep(t *testing.T) {
	l := newLab(t, Options{})
	for want, s := range map[string]pipeline.Step{
		`"host" only, not "debian:12"`:   {Image: "debian:12"},
		"host_paths":                     {RunnerArgs: json.RawMessage(`{"host_path": []}`)},
		"is not a clean absolute path":   {RunnerArgs: json.RawMessage(`{"host_paths": ["relative"]}`)},
		"is the step's own":              {RunnerArgs: json.RawMessage(`{"host_paths": ["/proc/sys"]}`)},
		`is not a clean absolute path "`: {RunnerArgs: json.RawMessage(`{"host_paths": ["/a/../b"]}`)},
	} {
		err := l.runner.ValidateStep(s)
		if err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(want, ` "`)) {
			t.Errorf("%+v: got %v, want an error with %q", s, err, want)
		}
	}
	if err := l.runner.ValidateStep(pipeline.Step{Image: "host", RunnerArgs: json.RawMessage(`{"nested": true}`)}); err != nil {
		t.Error(err)
	}
}

func TestNested(t *testing.T) {
	l := newLab(t, Options{})
	const script = "unshare -U -r -m true"
	if out, result, err := l.sh(script); err != nil || result.Passed() {
		t.Errorf("an ordinary step can make namespaces: %v %s", err, out)
	}
	l.must(script, withArgs(map[string]any{"nested": true}))
}

// TestKilledOwner is the crash of a whole run: what it left is removed by the
// next runner, and what is in use is not.
func TestKilledOwner(t *testing.T) {
	state := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestHelperOwner$")
	cmd.Env = append(os.Environ(), "STRATA_TEST_OWNER="+state)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // it is in the middle of a step
		t.Fatal(err)
	}
	other := newLab(t, Options{StateDir: state})
	other.must("true") // before its first step, a runner has no directory
	dirs := func() []string {
		found, err := filepath.Glob(filepath.Join(state, "live", "run-*"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if n := len(dirs()); n != 2 {
		t.Fatalf("there are %d directories of live processes, want 2", n)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	next := newLab(t, Options{StateDir: state})
	next.must("true")
	if n := len(dirs()); n != 2 {
		t.Errorf("there are %d directories of live processes, want those of the two that live", n)
	}
	other.must("true")
}

func TestHelperOwner(t *testing.T) {
	state := os.Getenv("STRATA_TEST_OWNER")
	if state == "" {
		return // it is for TestKilledOwner to start
	}
	r := open(t, Options{StateDir: state})
	_, _ = r.Execute(context.Background(), &runner.StepContext{Stdout: os.Stdout, Stderr: os.Stdout, Notice: func(string) {}}, runner.ExecutorInput{
		Step: pipeline.Step{Name: "s", Command: pipeline.Command{Shell: "mkdir -p /opt/x; chmod 000 /opt/x; echo ready; sleep 1000"}}, RunID: "r", StepID: "r.s",
	})
}

const ownMounts = "STRATA_TEST_OWN_MOUNTS"

// inOwnMounts runs a test of this program where it may mount what it likes.
func inOwnMounts(t *testing.T, name string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+name+"$", "-test.v")
	cmd.Env = append(os.Environ(), ownMounts+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWNS | unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: "+name)) {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestMountsBelowSystemDirectories is a machine with a file system mounted
// somewhere in /var, which overlayfs cannot take as a part of a lower layer.
func TestMountsBelowSystemDirectories(t *testing.T) {
	inOwnMounts(t, "TestHelperMounts")
}

func TestHelperMounts(t *testing.T) {
	if os.Getenv(ownMounts) == "" {
		return // it is for TestMountsBelowSystemDirectories to start
	}
	if err := unix.Mount("tmpfs", "/var/lib/dpkg", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/var/lib/dpkg/mounted", []byte("content\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	l := newLab(t, Options{})
	snapshot := func(in *runner.ExecutorInput) {
		in.Cache = runner.CacheDecision{Action: runner.MissBuildAs, Ref: "parent"}
	}
	l.must("test \"$(cat /var/lib/dpkg/mounted)\" = content; ls /var /var/lib /var/lib/apt; echo changed > /var/lib/dpkg/mounted; rm -r /var/tmp/* || true; echo x > /var/lib/apt/new || touch /var/new", snapshot)
	out := l.must("cat /var/lib/dpkg/mounted; ls /var/lib/apt/new /var/new 2>/dev/null || true", func(in *runner.ExecutorInput) { in.Parent = "parent" })
	if !strings.HasPrefix(out, "changed\n/var/") {
		t.Errorf("the child sees %q", out)
	}
}

// TestFullDisk needs a file system of its own, so it runs where it may mount one.
func TestFullDisk(t *testing.T) {
	inOwnMounts(t, "TestHelperFullDisk")
}

func TestHelperFullDisk(t *testing.T) {
	if os.Getenv(ownMounts) == "" {
		return // it is for TestFullDisk to start
	}
	state := t.TempDir()
	if err := unix.Mount("tmpfs", state, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(state, 0); err != nil {
			t.Error(err)
		}
	})
	l := newLab(t, Options{StateDir: state})
	_, _, err := l.sh("head -c 8M /dev/zero > /workspace/big")
	var infra *runner.InfraError
	if !errors.As(err, &infra) || infra.Kind != runner.KindDiskFull || !strings.Contains(err.Error(), state) {
		t.Errorf("got %v, want an error that says that the file system of %s is full", err, state)
	}
	l.must("echo there is space again > file")
}

// TestLostTerminate is a process that has missed the signal to end: it had a
// handler when the signal came, and has none any more.
func TestLostTerminate(t *testing.T) {
	l := newLab(t, Options{Grace: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	kill := make(chan struct{})
	last := time.AfterFunc(time.Minute, func() { close(kill) })
	out := writer(func(p []byte) (int, error) {
		if bytes.Contains(p, []byte("ready")) {
			cancel()
		}
		return len(p), nil
	})
	_, err := l.runner.Execute(ctx, &runner.StepContext{Stdout: out, Stderr: out, Notice: func(string) {}, Kill: kill}, runner.ExecutorInput{
		Step:  pipeline.Step{Name: "s", Command: pipeline.Command{Shell: "trap : TERM; sleep 1000 & echo ready; wait || true; trap - TERM; exec sleep 1000"}},
		RunID: "r", StepID: "r.lost",
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
	if !last.Stop() {
		t.Error("the step did not end before it was killed")
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }
