//go:build linux

package sandbox

import (
	"time"

	"golang.org/x/sys/unix"
)

// Spec is a command and the world that it sees.
type Spec struct {
	// Mounts make up the root, in order; the first is the root itself. The cell
	// adds /proc, /dev, /sys after them; their mount points must exist.
	Mounts []Mount
	// Base is a directory that most mounts' paths lie in. The kernel takes a
	// mount's options in one page, so they are given relative to it.
	Base string
	// Argv is the command. A name without a slash is looked up in Env's PATH.
	Argv []string
	// Env is the whole environment, as KEY=VALUE.
	Env []string
	// Dir is the working directory, absolute in the new root.
	Dir string
	// Hostname is what the command sees as the machine's name.
	Hostname string
	// PrivateNetwork gives a network namespace with a loopback device only.
	PrivateNetwork bool
	// Nested lets the command make namespaces and mounts of its own, within its
	// user namespace. It widens what the command can reach in the kernel.
	Nested bool
	// Limits bound what the command uses. Any needs [Config.Cgroups].
	Limits Limits
}

// Mount is one mount of a root.
type Mount struct {
	// Target is where it goes: a clean path relative to the new root, "." for
	// the root itself. Symbolic links in it are never followed.
	Target string
	// Lowers (topmost first), Upper and Work are for an overlay.
	Lowers []string
	Upper  string
	Work   string
	// Source is a file or directory to bind, for a mount without Lowers.
	Source string
	// Hide covers Target with nothing: an empty directory or an empty file, as
	// it is one or the other. A Target that is not there, or is a symbolic link,
	// needs no hiding.
	Hide bool
	// Keep names an overlay that the cell keeps mounted for later commands, for
	// as long as none has changed anything in it. The name is one path element.
	// A mount with that name and another Upper takes the place of the one before.
	Keep     string
	ReadOnly bool
}

// Result is how a command ended.
type Result struct {
	ExitCode int         // 0 to 255, -1 if a signal ended it
	Signal   unix.Signal // 0 if it exited
	// UserTime, SystemTime and PeakMemory (bytes, of the largest process) cover
	// all processes that the command left to be reaped.
	UserTime, SystemTime time.Duration
	PeakMemory           int64
	// OutOfMemory says that the kernel killed a process for Limits.Memory, and
	// that the command did not end well.
	OutOfMemory bool
	// Changed are the names of kept overlays that the command has changed. They
	// are unmounted, and a new mount of that name is a new overlay.
	Changed []string
}

// Stage says at which point a command could not be run.
type Stage string

// The stages of starting a command.
const (
	StageMount Stage = "mount" // the root could not be put together
	StageLimit Stage = "limit" // a privilege could not be dropped
	StageStart Stage = "start" // the program or the directory does not exist or cannot be used
)

// Error says that a command could not be run at all.
type Error struct {
	Stage  Stage
	Detail string     // what was being done
	Errno  unix.Errno // 0 if the cause is not a system call
}

// Error returns the detail and the cause.
func (e *Error) Error() string {
	if e.Errno == 0 {
		return e.Detail
	}
	return e.Detail + ": " + e.Errno.Error()
}

// Unwrap returns the errno, so that errors.Is works across processes.
func (e *Error) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}
