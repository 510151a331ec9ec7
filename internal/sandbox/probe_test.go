//go:build linux

package sandbox

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// This test binary is also what runs inside the sandbox: it makes the system
// calls that a shell cannot, and prints what came of each.

const probeArg = "__probe"

var probes = map[string]func(){
	"calls":   probeCalls,
	"nested":  probeNested,
	"signals": probeSignals,
	"init":    probeInit,
	"network": probeNetwork,
	"threads": probeThreads,
}

func runProbe(name string) int {
	probes[name]()
	return 0
}

func say(name string, err error) {
	switch e := err.(type) {
	case nil:
		fmt.Println(name, "ok")
	case unix.Errno:
		fmt.Println(name, unix.ErrnoName(e))
	default:
		fmt.Println(name, strings.ReplaceAll(err.Error(), " ", "_"))
	}
}

func call(number, a, b, c uintptr) error {
	if _, _, errno := unix.Syscall(number, a, b, c); errno != 0 {
		return errno
	}
	return nil
}

// probeCalls makes calls that, but for the filter, would work or fail for
// other reasons: with a bad address, a bad descriptor or a bad argument.
func probeCalls() {
	const badAddress, badFd = 1, 1 << 20
	say("keyctl", call(unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, 0, 0))
	say("add_key", call(unix.SYS_ADD_KEY, badAddress, badAddress, 0))
	say("request_key", call(unix.SYS_REQUEST_KEY, badAddress, badAddress, 0))
	say("bpf", call(unix.SYS_BPF, 999, badAddress, 0))
	say("perf_event_open", call(unix.SYS_PERF_EVENT_OPEN, badAddress, 0, 0))
	say("userfaultfd", call(unix.SYS_USERFAULTFD, 1, 0, 0)) // UFFD_USER_MODE_ONLY is for everyone
	say("io_uring_setup", call(unix.SYS_IO_URING_SETUP, 1, badAddress, 0))
	say("open_by_handle_at", call(unix.SYS_OPEN_BY_HANDLE_AT, badFd, badAddress, 0))
	say("mount", call(unix.SYS_MOUNT, badAddress, badAddress, badAddress))
	say("fsopen", call(unix.SYS_FSOPEN, badAddress, 0, 0))
	say("open_tree", call(unix.SYS_OPEN_TREE, badFd, badAddress, 0))
	say("mount_setattr", call(unix.SYS_MOUNT_SETATTR, badFd, badAddress, 0))
	say("pivot_root", call(unix.SYS_PIVOT_ROOT, badAddress, badAddress, 0))
	say("kexec_load", call(unix.SYS_KEXEC_LOAD, 0, 1<<20, badAddress))
	say("reboot", call(unix.SYS_REBOOT, 0, 0, 0))
	say("clone3", call(unix.SYS_CLONE3, 0, 0, 0))
	say("clone+newuser", call(unix.SYS_CLONE, unix.CLONE_NEWUSER|unix.CLONE_THREAD, 0, 0))
	for name, flag := range map[string]int{
		"newuser": unix.CLONE_NEWUSER, "newns": unix.CLONE_NEWNS, "newpid": unix.CLONE_NEWPID, "newnet": unix.CLONE_NEWNET,
		"newipc": unix.CLONE_NEWIPC, "newuts": unix.CLONE_NEWUTS, "newcgroup": unix.CLONE_NEWCGROUP, "newtime": unix.CLONE_NEWTIME,
	} {
		say("unshare+"+name, call(unix.SYS_UNSHARE, uintptr(flag), 0, 0))
	}
	unshared := make(chan error)
	go func() {
		runtime.LockOSThread() // and so ends the thread, whose descriptors the runtime does not know
		unshared <- call(unix.SYS_UNSHARE, unix.CLONE_FILES, 0, 0)
	}()
	say("unshare+files", <-unshared)
	say("tiocsti", call(unix.SYS_IOCTL, badFd, unix.TIOCSTI, badAddress))
	say("tioclinux", call(unix.SYS_IOCTL, badFd, unix.TIOCLINUX, badAddress))
	// The kernel looks at 32 bits of the request only, so must the filter.
	say("tiocsti+high", call(unix.SYS_IOCTL, badFd, 1<<32|unix.TIOCSTI, badAddress))
	say("tcgets", call(unix.SYS_IOCTL, badFd, unix.TCGETS, badAddress))
	for name, family := range map[string]uintptr{
		"vsock": unix.AF_VSOCK, "alg": unix.AF_ALG, "bluetooth": unix.AF_BLUETOOTH, "vsock+high": 1<<32 | unix.AF_VSOCK,
		"unix": unix.AF_UNIX, "inet": unix.AF_INET, "netlink": unix.AF_NETLINK,
	} {
		kind := uintptr(unix.SOCK_DGRAM)
		if name == "netlink" {
			kind = unix.SOCK_RAW
		}
		say("socket+"+name, call(unix.SYS_SOCKET, family, kind, 0))
	}
	if runtime.GOARCH == "amd64" {
		say("x32", call(1<<30|unix.SYS_GETPID, 0, 0, 0))
	} else {
		fmt.Println("x32 ENOSYS")
	}
}

// probeNested does what a sandbox inside the sandbox needs.
func probeNested() {
	runtime.LockOSThread()
	say("unshare", unix.Unshare(unix.CLONE_NEWNS|unix.CLONE_NEWIPC|unix.CLONE_NEWUTS|unix.CLONE_NEWNET))
	say("private", unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	say("remount", unix.Mount("", "/usr", "", unix.MS_REMOUNT|unix.MS_BIND, ""))
	say("tmpfs", unix.Mount("tmpfs", "/tmp", "tmpfs", 0, ""))
	say("keyctl", call(unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, 0, 0))
	say("bpf", call(unix.SYS_BPF, 999, 1, 0))
}

func probeSignals() {
	threads, err := os.ReadDir("/proc/1/task")
	say("threads", err)
	for s := unix.Signal(0); s <= 64; s++ {
		_ = unix.Kill(1, s) // what can be sent, is
		for _, thread := range threads {
			tid, _ := strconv.Atoi(thread.Name())
			_ = unix.Tgkill(1, tid, s) // as above
		}
	}
}

// probeInit tries to get at the supervising process.
func probeInit() {
	runtime.LockOSThread()
	say("attach", unix.PtraceAttach(1))
	say("seize", unix.PtraceSeize(1))
	for _, name := range []string{"environ", "mem", "maps", "auxv", "syscall", "stack", "fd/0", "root/.", "cwd/.", "exe", "ns/mnt"} {
		if err := look(filepath.Join("/proc/1", name)); err == nil {
			say(name, nil)
		} else {
			fmt.Println(name, "denied")
		}
	}
	local := make([]byte, 8)
	_, err := unix.ProcessVMReadv(1,
		[]unix.Iovec{{Base: &local[0], Len: 8}}, []unix.RemoteIovec{{Base: 0x400000, Len: 8}}, 0)
	say("read", err)
	fd, err := unix.PidfdOpen(1, 0)
	if err == nil {
		_, err = unix.PidfdGetfd(fd, 0, 0)
	}
	say("getfd", err)
	say("limit", unix.Prlimit(1, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: 3}, nil))
	fmt.Println("own", unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) == nil && unix.Prlimit(os.Getpid(), unix.RLIMIT_CORE, nil, new(unix.Rlimit)) == nil)
	say("setns", func() error { return call(unix.SYS_SETNS, uintptr(fd), unix.CLONE_NEWNS, 0) }())
}

// look follows a link, lists a directory, or reads a file.
func look(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode()&os.ModeSymlink != 0 {
		_, err = os.Readlink(path)
		return err
	}
	if info.IsDir() {
		_, err = os.ReadDir(path)
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := f.Read(make([]byte, 16))
	if n == 0 && err == nil {
		err = io.EOF
	}
	return err
}

func probeNetwork() {
	devices, err := net.Interfaces()
	say("interfaces", err)
	for _, d := range devices {
		fmt.Println(d.Name, strconv.FormatBool(d.Flags&net.FlagUp != 0))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	say("listen", err)
	if err == nil {
		_, err = net.Dial("tcp", l.Addr().String())
		say("dial", err)
	}
	_, err = net.Dial("udp", "192.0.2.1:9") // TEST-NET-1: RFC 5737
	fmt.Println("outside", strconv.FormatBool(err == nil))
}

// probeThreads shows that threads and processes can be made.
func probeThreads() {
	done := make(chan struct{})
	for range 4 {
		go func() {
			runtime.LockOSThread()
			done <- struct{}{}
		}()
	}
	for range 4 {
		<-done
	}
	fmt.Println("threads ok")
}
