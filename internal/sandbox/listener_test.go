//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

const listenedTest = "TestHelperListened"

// Some sandboxes, such as LXD's, listen to system calls themselves, and the
// kernel allows one listener only.
func TestBesideAnotherListener(t *testing.T) {
	helper := exec.Command("/proc/self/exe", "-test.run=^"+listenedTest+"$", "-test.v")
	helper.Env = append(os.Environ(), "STRATA_TEST_LISTENED=install")
	out, err := helper.CombinedOutput()
	if strings.Contains(string(out), "run this test as root") {
		t.Skip("no control group of version 2 can be made: run this test as root")
	}
	if err != nil || !strings.Contains(string(out), "listened: ok") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestHelperListened is the other half, in a second start of this test binary
// that starts itself again below a filter with a listener.
func TestHelperListened(t *testing.T) {
	switch os.Getenv("STRATA_TEST_LISTENED") {
	case "install":
		runtime.LockOSThread()
		must(t, listen())
		must(t, os.Setenv("STRATA_TEST_LISTENED", "use"))
		must(t, syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
	case "use":
		g, own := unifiedGroup(t)
		b := newBox(t, g)
		b.cell.group = own
		b.output(b.spec("true"))
		spec := b.spec("true")
		spec.Limits.Processes = 5
		r, w, err := os.Pipe()
		must(t, err)
		defer r.Close()
		_, err = b.cell.runIn(t.Context(), own, spec, Output{Out: w, Err: w}, Control{})
		w.Close()
		if !errors.Is(err, unix.EBUSY) {
			t.Fatalf("a command runs without its limits: %v", err)
		}
		b.output(b.spec("true"))
		fmt.Println("listened: ok")
	}
}

// listen installs a filter that allows all, with a listener that stays open.
func listen() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	allow := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
	prog := unix.SockFprog{Len: 1, Filter: &allow}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return errno
	}
	_, err := unix.FcntlInt(fd, unix.F_SETFD, 0) // not closed on exec
	return err
}
