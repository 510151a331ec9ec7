//go:build linux

package sandbox

import (
	"slices"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// A command may make all system calls but those below. The ones that need a
// capability that no command has are left to that check, except where their
// code before it has a history of faults. The selection follows what Docker's
// default profile leaves out (moby/profiles, seccomp/default.json).

// deniedAlways are kept from every command.
var deniedAlways = []uint32{
	// Keys are kept per user, not per sandbox.
	unix.SYS_ADD_KEY, unix.SYS_KEYCTL, unix.SYS_REQUEST_KEY,
	// Ways into the kernel that few programs use and many exploits do.
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
	unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	// The machine's own state.
	unix.SYS_KEXEC_LOAD, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
	unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_SYSLOG,
	unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME, unix.SYS_ADJTIMEX,
	unix.SYS_QUOTACTL, unix.SYS_LOOKUP_DCOOKIE, unix.SYS_VHANGUP, unix.SYS_NFSSERVCTL,
	// Files by handle, past all directories and mounts.
	unix.SYS_OPEN_BY_HANDLE_AT,
}

// deniedUnlessNested are kept from commands that may not make sandboxes of
// their own. umount2 and setns are not among them: the cell's thread needs them
// after it has started the command, and they do nothing without CAP_SYS_ADMIN.
var deniedUnlessNested = []uint32{
	unix.SYS_MOUNT, unix.SYS_PIVOT_ROOT, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_MOUNT_SETATTR,
	unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK,
}

const namespaceFlags = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
	unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWTIME

// Socket families that builds and tests use. The others load rarely used
// kernel modules, or (AF_VSOCK) reach a hypervisor.
var allowedFamilies = []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK, unix.AF_PACKET}

// Offsets into struct seccomp_data (linux/seccomp.h), little-endian.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArg0   = 16
	offsetArg1   = 24
	offsetArg2   = 32
)

func errno(e unix.Errno) bpf.Instruction {
	return bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(e)}
}

// filterFor assembles the filter of a command.
func filterFor(nested bool) ([]bpf.RawInstruction, error) {
	const word = 4
	prog := []bpf.Instruction{
		// Another architecture's system calls have other numbers, so they are
		// not there at all; nor are those of x32.
		bpf.LoadAbsolute{Off: offsetArch, Size: word},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: auditArch, SkipTrue: 1},
		errno(unix.ENOSYS),
		bpf.LoadAbsolute{Off: offsetNumber, Size: word},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: foreignNumbers, SkipTrue: 1},
		errno(unix.ENOSYS),
	}
	denied := slices.Concat(deniedAlways, deniedOnArch)
	if !nested {
		denied = append(denied, deniedUnlessNested...)
	}
	for _, number := range denied {
		prog = append(prog, on(number, errno(unix.EPERM))...)
	}
	if !nested {
		flags := []bpf.Instruction{
			bpf.LoadAbsolute{Off: offsetArg0, Size: word},
			bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: namespaceFlags, SkipFalse: 1},
			errno(unix.EPERM),
			bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW},
		}
		prog = append(prog, on(unix.SYS_CLONE, flags...)...)
		prog = append(prog, on(unix.SYS_UNSHARE, flags...)...)
		// Its flags lie in memory, out of a filter's reach. Without it, C
		// libraries use clone. It is ENOSYS to all but the cell: see start.
		prog = append(prog, on(unix.SYS_CLONE3, bpf.RetConstant{Val: unix.SECCOMP_RET_USER_NOTIF})...)
	}
	prog = append(prog, on(unix.SYS_SOCKET, families()...)...)
	prog = append(prog, on(unix.SYS_IOCTL,
		bpf.LoadAbsolute{Off: offsetArg1, Size: word},
		// Typing into a terminal: the classic way out of a sandbox.
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.TIOCSTI, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.TIOCLINUX, SkipTrue: 1},
		errno(unix.EPERM),
		bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW},
	)...)
	prog = append(prog, on(unix.SYS_PRLIMIT64,
		// Setting another process's limits: the supervising process is of the
		// same user, and later commands inherit its limits.
		bpf.LoadAbsolute{Off: offsetArg2, Size: word},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 2},
		bpf.LoadAbsolute{Off: offsetArg2 + word, Size: word},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 3},
		bpf.LoadAbsolute{Off: offsetArg0, Size: word},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1},
		errno(unix.EPERM),
		bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW},
	)...)
	prog = append(prog, bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW})
	return bpf.Assemble(prog)
}

// on runs then, which must end in a return, for the system call of that number.
func on(number uint32, then ...bpf.Instruction) []bpf.Instruction {
	skip := bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: number, SkipTrue: uint8(len(then))}
	return append([]bpf.Instruction{skip}, then...)
}

func families() []bpf.Instruction {
	prog := []bpf.Instruction{bpf.LoadAbsolute{Off: offsetArg0, Size: 4}}
	for _, f := range allowedFamilies {
		prog = append(prog,
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: f, SkipTrue: 1},
			bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW})
	}
	return append(prog, errno(unix.EAFNOSUPPORT))
}
