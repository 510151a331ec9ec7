//go:build !linux && !windows

package host

import (
	"bytes"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxrssUnit is the unit of ru_maxrss in bytes; see getrusage(2) of macOS.
const maxrssUnit = 1

func ownProgram() (string, error) { return os.Executable() }

// commandAttr puts the command into a process group of its own: the group finds
// most of what the command leaves behind.
func commandAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// adoptOrphans does nothing: there are no subreapers here. Orphans that left
// the command's group are not found again.
func adoptOrphans() error { return nil }

// descendants returns this process's descendants and the orphans that are in
// the command's group.
func descendants(command int) []int {
	table := processTable()
	found := descendantsOf(os.Getpid(), table)
	known := map[int]bool{}
	for _, pid := range found {
		known[pid] = true
	}
	for _, p := range table {
		if p.group == command && !known[p.pid] {
			found = append(found, p.pid)
		}
	}
	return found
}

// adopted returns nothing: orphans do not come back to this process.
func adopted() []int { return nil }

// killOrphans kills the orphans in the command's group and waits for their end.
func killOrphans(command int) []int {
	find := func() []int { return descendants(command) }
	for {
		left := killAll(find)
		if len(find()) <= len(left) {
			return left
		}
	}
}

// killSession kills the supervisor's own group; the command's is not known here.
func killSession(session int) { _ = unix.Kill(-session, unix.SIGKILL) }

// processTable asks ps(1), which is everywhere and may see everything.
func processTable() []process {
	cmd := exec.Command("/bin/ps", "-A", "-o", "pid=", "-o", "ppid=", "-o", "pgid=", "-o", "state=")
	out, err := cmd.Output()
	if err != nil {
		return nil
	}
	return parseTable(out, cmd.Process.Pid)
}

// parseTable reads the lines of ps but those of ps itself and of zombies.
func parseTable(out []byte, ps int) []process {
	var table []process
	for line := range bytes.Lines(out) {
		fields := bytes.Fields(line)
		if len(fields) < 4 || fields[3][0] == 'Z' {
			continue
		}
		if n, ok := numbers(fields[:3]); ok && n[0] != ps {
			table = append(table, process{pid: n[0], parent: n[1], group: n[2]})
		}
	}
	return table
}
