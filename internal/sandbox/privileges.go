//go:build linux

package sandbox

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// keptCapabilities is Docker's default set (moby, oci/caps/defaults.go) without
// CAP_MKNOD and CAP_NET_RAW, which a user namespace without its own network
// cannot use. They count in the command's user namespace only.
var keptCapabilities = map[uintptr]bool{
	unix.CAP_CHOWN: true, unix.CAP_DAC_OVERRIDE: true, unix.CAP_FOWNER: true, unix.CAP_FSETID: true,
	unix.CAP_KILL: true, unix.CAP_SETGID: true, unix.CAP_SETUID: true, unix.CAP_SETPCAP: true,
	unix.CAP_NET_BIND_SERVICE: true, unix.CAP_SYS_CHROOT: true, unix.CAP_SETFCAP: true, unix.CAP_AUDIT_WRITE: true,
}

// dropPrivileges limits what a program started by this thread can gain. The
// thread itself keeps its capabilities, which it needs to clean up: a program
// gets those of the bounding set only, and all other threads are as they were.
// Where it is to listen, the listener is asked about every clone3.
func (w *world) dropPrivileges(nested, listen bool) (listener *os.File, err error) {
	filter := w.filter[0]
	if nested {
		filter = w.filter[1]
	} else {
		for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
			if keptCapabilities[c] {
				continue
			}
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && err != unix.EINVAL {
				return nil, err // EINVAL: this kernel does not know the capability
			}
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return nil, err
	}
	program := make([]unix.SockFilter, len(filter))
	for i, ins := range filter {
		program[i] = unix.SockFilter{Code: ins.Op, Jt: ins.Jt, Jf: ins.Jf, K: ins.K}
	}
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	var flags uintptr
	if listen {
		flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	switch {
	case errno != 0:
		return nil, errno
	case listen:
		return os.NewFile(fd, "listener"), nil
	}
	return nil, nil
}

// nest starts a command in a user namespace below the cell's, with all
// capabilities there. With capabilities in the cell's own it could trace the
// cell, enter the cell's mount namespace, which is the machine's, and make
// read-only mounts writable: user_namespaces(7), mount_namespaces(7).
func (w *world) nest(attr *syscall.SysProcAttr) {
	attr.Cloneflags = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
	attr.UidMappings, attr.GidMappings = w.users, w.groups
	attr.GidMappingsEnableSetgroups = w.setgroups
}

// loopbackUp brings up the only device of a new network namespace.
func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr)
}
