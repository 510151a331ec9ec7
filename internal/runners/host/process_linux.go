package host

import (
	"bytes"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxrssUnit is the unit of ru_maxrss in bytes; see getrusage(2).
const maxrssUnit = 1024

// ownProgram is the running program itself, also after its file was replaced.
func ownProgram() (string, error) { return "/proc/self/exe", nil }

// commandAttr puts the command into a process group of its own, so that it does
// not hit its supervisor when it signals its group, and lets it die with the
// supervisor.
func commandAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
}

// adoptOrphans makes this process the parent of its orphaned descendants.
func adoptOrphans() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl PR_SET_CHILD_SUBREAPER", err)
	}
	return nil
}

// descendants returns all descendants of this process: of the command, whose ID
// is not needed here, and the orphans that it left.
func descendants(int) []int { return descendantsOf(os.Getpid(), processTable()) }

// adopted returns this process's children: the command, and the orphans that it left.
func adopted() []int {
	var found []int
	for _, p := range processTable() {
		if p.parent == os.Getpid() {
			found = append(found, p.pid)
		}
	}
	return found
}

// killOrphans does nothing: orphans are this process's children.
func killOrphans(int) []int { return nil }

// killSession kills what is left of a session whose supervisor is gone. What
// went into another session is not found.
func killSession(session int) {
	killAll(func() []int {
		var found []int
		for _, p := range processTable() {
			if p.session == session {
				found = append(found, p.pid)
			}
		}
		return found
	})
}

// processTable returns all processes but zombies. One that ends meanwhile may
// be missing.
func processTable() []process {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var table []process
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue
		}
		if p, ok := parseStat(pid, stat); ok {
			table = append(table, p)
		}
	}
	return table
}

// parseStat reads a line of /proc/PID/stat and reports whether it is that of a
// process that has not ended. The line is, by proc_pid_stat(5), "PID (NAME)
// STATE PARENT GROUP SESSION …" with the number of threads as its 20th field.
// NAME can hold anything, also ")".
func parseStat(pid int, stat []byte) (process, bool) {
	const threads = 20 - 3
	end := bytes.LastIndexByte(stat, ')')
	fields := bytes.Fields(stat[end+1:])
	if end < 0 || len(fields) <= threads {
		return process{}, false
	}
	// The other threads of a process go on after its first one has ended.
	if ended := fields[0][0] == 'Z' || fields[0][0] == 'X'; ended && len(fields[threads]) == 1 && fields[threads][0] < '2' {
		return process{}, false
	}
	n, ok := numbers(fields[1:4])
	if !ok {
		return process{}, false
	}
	return process{pid: pid, parent: n[0], group: n[1], session: n[2]}, true
}
