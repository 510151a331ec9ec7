//go:build linux

package sandbox

import (
	"errors"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// start starts the command in its group, with limited privileges.
//
// In cgroup version 1 a thread can enter groups, and a child is where its
// parent's thread is. In version 2 only clone3 puts a process into a group from
// its birth on (moving one later takes the kernel some 10 ms). The command's
// filter denies clone3 and has to be in force before it. So the filter hands
// clone3 to the owner of its listener, who lets this one pass and then closes
// the listener, after which the kernel denies it: seccomp(2), ENOSYS.
func (w *world) start(j job, program string, attr *syscall.ProcAttr) (pid int, err error) {
	if j.Nested {
		w.nest(attr.Sys)
	}
	asks := false
	switch {
	case len(j.doors) == 0:
	case j.unified:
		attr.Sys.UseCgroupFD = true
		attr.Sys.CgroupFD = int(j.doors[0].Fd())
		asks = !j.Nested // whose filter allows it to all
	default:
		for _, tasks := range j.doors {
			if _, err := tasks.WriteString("0"); err != nil { // this thread
				return 0, asError(StageLimit, "enter the command's control group", err)
			}
		}
	}
	listener, err := w.dropPrivileges(j.Nested, asks)
	if errors.Is(err, unix.EBUSY) && j.Limits == (Limits{}) {
		// The sandbox around Strata listens already, and there can be only one.
		asks, attr.Sys.UseCgroupFD = false, false
		_, err = w.dropPrivileges(j.Nested, false)
	}
	if err != nil {
		return 0, asError(StageLimit, "drop privileges", err)
	}
	if asks {
		if err := errors.Join(j.askFork(listener), listener.Close()); err != nil {
			return 0, asError(StageLimit, "ask to start the command", err)
		}
	}
	pid, err = syscall.ForkExec(program, j.Argv, attr)
	if err != nil && asks {
		// Should it have failed before its clone3, the owner still waits for one.
		// This one can only fail.
		_, _, _ = unix.Syscall(unix.SYS_CLONE3, 0, 0, 0)
	}
	if err != nil {
		return 0, asError(StageStart, "start "+j.Argv[0], err)
	}
	return pid, nil
}

// notification and response are struct seccomp_notif and seccomp_notif_resp
// of linux/seccomp.h.
type (
	notification struct {
		id         uint64
		pid, flags uint32
		data       [64]byte // struct seccomp_data
	}
	response struct {
		id           uint64
		value        int64
		errno, flags uint32
	}
)

// letFork waits for the first system call that the listener is asked about,
// which is that of the cell's own thread, lets it pass, and closes the
// listener. It returns without, if that thread has ended.
func letFork(files []*os.File) error {
	defer closeAll(files)
	if len(files) != 1 {
		return errors.New("a listener is missing")
	}
	fd := files[0].Fd()
	polled := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(polled, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		break
	}
	if polled[0].Revents&unix.POLLIN == 0 {
		return nil
	}
	var asked notification
	if err := ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&asked)); err != nil {
		return err
	}
	answer := response{id: asked.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	return ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&answer))
}

func ioctl(fd uintptr, request uint, arg unsafe.Pointer) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, uintptr(request), uintptr(arg))
		switch errno {
		case 0, unix.ENOENT: // ENOENT: the one who asked was killed
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // nothing is written through it
	}
}
