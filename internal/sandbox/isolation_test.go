//go:build linux

package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// answers reads the lines "name answer" of a probe.
func answers(t *testing.T, text string) map[string]string {
	t.Helper()
	got := map[string]string{}
	for line := range strings.Lines(text) {
		name, answer, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			t.Errorf("a line of a probe: %q", line)
		}
		got[name] = answer
	}
	return got
}

func (b *box) probe(name string, change func(*Spec)) map[string]string {
	b.t.Helper()
	spec := b.spec("/probe", probeArg, name)
	if change != nil {
		change(&spec)
	}
	return answers(b.t.(*testing.T), b.output(spec))
}

func nested(s *Spec) { s.Nested = true }

func expect(t *testing.T, got, want map[string]string) {
	t.Helper()
	for name, answer := range want {
		if got[name] != answer {
			t.Errorf("%s: %q, want %q", name, got[name], answer)
		}
	}
}

func TestFilter(t *testing.T) {
	got := newBox(t, nil).probe("calls", nil)
	want := map[string]string{
		"clone3": "ENOSYS", "x32": "ENOSYS", "tcgets": "EBADF", "unshare+files": "ok",
		"socket+vsock": "EAFNOSUPPORT", "socket+alg": "EAFNOSUPPORT", "socket+bluetooth": "EAFNOSUPPORT", "socket+vsock+high": "EAFNOSUPPORT",
		"socket+unix": "ok", "socket+inet": "ok", "socket+netlink": "ok",
	}
	for name := range got {
		if _, known := want[name]; !known {
			want[name] = "EPERM"
		}
	}
	if len(want) < 35 {
		t.Errorf("only %d calls were tried", len(want))
	}
	expect(t, got, want)
}

func TestNestedFilter(t *testing.T) {
	b := newBox(t, nil)
	expect(t, b.probe("nested", nested), map[string]string{
		"unshare": "ok", "private": "ok", "remount": "EPERM", "tmpfs": "ok", "keyctl": "EPERM", "bpf": "EPERM",
	})
	if out := b.output(b.spec(sh("ls /tmp; grep -c tmpfs /proc/mounts")...)); strings.TrimSpace(out) == "" {
		t.Error(out)
	}
}

func TestPrivileges(t *testing.T) {
	b := newBox(t, nil)
	got := map[string]string{}
	for line := range strings.Lines(b.output(b.spec("cat", "/proc/self/status"))) {
		name, value, _ := strings.Cut(line, ":")
		got[name] = strings.TrimSpace(value)
	}
	// Docker's default, a80425fb, without CAP_MKNOD (27) and CAP_NET_RAW (13).
	const kept = "00000000a00405fb"
	expect(t, got, map[string]string{
		"CapEff": kept, "CapPrm": kept, "CapBnd": kept, "CapInh": "0000000000000000", "CapAmb": "0000000000000000",
		"NoNewPrivs": "1", "Seccomp": "2", "Uid": "0\t0\t0\t0", "Gid": "0\t0\t0\t0",
	})
}

func TestOnlyOwnProcesses(t *testing.T) {
	b := newBox(t, nil)
	out := b.output(b.spec(sh("cd /proc && echo [0-9]*; echo $$")...))
	words := strings.Fields(out)
	if len(words) != 3 || words[0] != "1" || words[1] != words[2] {
		t.Errorf("processes and the shell's own: %v", words)
	}
	if out := b.output(b.spec(sh("hostname; ls /; cat /proc/mounts; ls -A /tmp /data")...)); !strings.HasPrefix(out, "box\n") || strings.Contains(out, "scratch") {
		t.Errorf("the machine shows:\n%s", out)
	}
}

func TestSupervisorIsOutOfReach(t *testing.T) {
	b := newBox(t, nil)
	for _, change := range []func(*Spec){nil, nested} {
		got := b.probe("init", change)
		if got["own"] != "true" {
			t.Error("a command cannot set its own limits")
		}
		delete(got, "own")
		for name, answer := range got {
			if answer != "EPERM" && answer != "EACCES" && answer != "denied" {
				t.Errorf("%s of the supervising process: %s", name, answer)
			}
		}
		if len(got) < 14 {
			t.Errorf("only %v was tried", got)
		}
	}
}

func TestSupervisorOutlivesSignals(t *testing.T) {
	b := newBox(t, nil)
	for range 3 {
		b.output(b.spec("/probe", probeArg, "signals"))
	}
	// One without a handler could end the cell at an unlucky moment. All but
	// SIGKILL and SIGSTOP can have one; 32 to 34 are kept for C libraries, have
	// one only in some builds, and do nothing to a PID 1 without.
	const all, kept = 0xfffffffffffbfeff, 0b111 << 31
	text := strings.TrimSpace(b.output(b.spec(sh("sed -n 's/^SigCgt:[^0-9a-f]*//p' /proc/1/status")...)))
	caught, err := strconv.ParseUint(text, 16, 64)
	if err != nil || caught|kept != all {
		t.Errorf("the signals with a handler are %s (%v)", text, err)
	}
	if out := b.output(b.spec("echo", "alive")); out != "alive\n" {
		t.Error(out)
	}
}

func TestPrivateNetwork(t *testing.T) {
	b := newBox(t, nil)
	got := b.probe("network", func(s *Spec) { s.PrivateNetwork = true })
	expect(t, got, map[string]string{"interfaces": "ok", "lo": "true", "listen": "ok", "dial": "ok", "outside": "false"})
	if len(got) != 5 {
		t.Errorf("more than a loopback device: %v", got)
	}
}

func TestDev(t *testing.T) {
	b := newBox(t, nil)
	got := strings.Fields(b.output(b.spec("ls", "/dev")))
	want := []string{"core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero"}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("/dev holds %v", got)
	}
	b.output(b.spec(sh(`set -e
		echo x > /dev/null
		test "$(head -c 4 /dev/zero | wc -c)" = 4
		test "$(head -c 4 /dev/urandom | wc -c)" = 4
		if echo x > /dev/full; then exit 1; fi
		echo x > /dev/shm/x
		: < /dev/ptmx
		if echo x > /dev/new; then exit 1; fi
		if rm /dev/null; then exit 1; fi`)...))
	if out := b.output(b.spec("ls", "-A", "/dev/shm")); out != "" {
		t.Errorf("/dev/shm still holds %q", out)
	}
}

func TestProcIsRestricted(t *testing.T) {
	b := newBox(t, nil)
	for _, name := range []string{"sys/kernel/hostname", "sys/vm/drop_caches", "sysrq-trigger", "irq/default_smp_affinity"} {
		if _, err := os.Stat(filepath.Join("/proc", name)); err != nil {
			continue // this kernel has no such file
		}
		out, result := b.run(b.spec(sh("echo x > /proc/" + name)...))
		if result.ExitCode == 0 || !strings.Contains(out, "Read-only file system") {
			t.Errorf("write /proc/%s: %+v %s", name, result, out)
		}
	}
	for _, name := range []string{"kcore", "keys", "timer_list"} {
		if _, err := os.Stat(filepath.Join("/proc", name)); err != nil {
			continue // as above
		}
		if out, _ := b.run(b.spec(sh("head -c 64 /proc/" + name + " 2>/dev/null")...)); out != "" {
			t.Errorf("/proc/%s shows %q", name, out)
		}
	}
	if out, result := b.run(b.spec(sh("f=$(find /sys/kernel -type f -perm -200 | head -1) && echo 1 > $f")...)); result.ExitCode == 0 || !strings.Contains(out, "Read-only file system") {
		t.Errorf("write below /sys: %+v %s", result, out)
	}
}

func TestNothingOutlivesTheCommand(t *testing.T) {
	b := newBox(t, nil)
	b.output(b.spec(sh("setsid sleep 1000 & (trap '' TERM HUP; exec sleep 1000) & exit 0")...))
	if out := b.output(b.spec(sh("cd /proc && echo [0-9]*")...)); len(strings.Fields(out)) != 2 {
		t.Errorf("processes: %s", out)
	}
}

const ownerTest = "TestHelperOwner"

// TestHelperOwner is not a test but the owner of a cell that the test below
// kills, in a second start of this test binary.
func TestHelperOwner(t *testing.T) {
	if os.Getenv("STRATA_TEST_OWNER") == "" {
		return
	}
	b := newBox(t, nil)
	out, end := b.start(b.spec(sh("echo started; sleep 1000 & exec sleep "+os.Getenv("STRATA_TEST_OWNER"))...), Control{})
	go func() { _, _ = io.Copy(os.Stdout, out) }()
	_, _ = end()
}

func TestKilledOwner(t *testing.T) {
	mark := fmt.Sprintf("1000.%d", os.Getpid())
	owner := exec.Command("/proc/self/exe", "-test.run=^"+ownerTest+"$")
	owner.Env = append(os.Environ(), "STRATA_TEST_OWNER="+mark)
	out, err := owner.StdoutPipe()
	must(t, err)
	must(t, owner.Start())
	defer func() { _ = owner.Process.Kill(); _ = owner.Wait() }()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "started\n" {
		t.Fatalf("the owner says %q, %v", line, err)
	}
	pid := waitForProcess(t, mark)
	fd, err := unix.PidfdOpen(pid, 0)
	must(t, err)
	defer unix.Close(fd)
	must(t, owner.Process.Kill())
	ended := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(ended, 10_000)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n != 1 || err != nil {
			t.Fatalf("the command lives on without its owner (%v)", err)
		}
		return
	}
}

// waitForProcess finds `sleep mark`; the shell that becomes it is there already.
func waitForProcess(t *testing.T, mark string) int {
	t.Helper()
	for range 1_000_000 {
		files, err := filepath.Glob("/proc/[0-9]*/cmdline")
		must(t, err)
		for _, f := range files {
			if text, _ := os.ReadFile(f); string(text) == "sleep\x00"+mark+"\x00" {
				var pid int
				_, err := fmt.Sscanf(f, "/proc/%d/cmdline", &pid)
				must(t, err)
				return pid
			}
		}
	}
	t.Fatal("the command is not there")
	return 0
}

func TestKillEndsAForkBomb(t *testing.T) {
	b := newBox(t, needCgroups(t, Limits{Processes: 1}))
	spec := b.spec(sh("bomb() { while :; do bomb | bomb & done; }; bomb 2>/dev/null & echo started; exec sleep 1000")...)
	spec.Limits.Processes = 500
	kill := make(chan struct{})
	out, end := b.start(spec, Control{Kill: kill})
	if _, err := io.ReadFull(out, make([]byte, len("started\n"))); err != nil {
		t.Fatal(err)
	}
	close(kill)
	go func() { _, _ = io.Copy(io.Discard, out) }()
	result, err := end()
	must(t, err)
	if result.Signal != unix.SIGKILL || result.OutOfMemory {
		t.Errorf("%+v", result)
	}
	if out := b.output(b.spec(sh("cd /proc && echo [0-9]*")...)); len(strings.Fields(out)) != 2 {
		t.Errorf("processes: %s", out)
	}
}
