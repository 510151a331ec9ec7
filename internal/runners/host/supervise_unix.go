//go:build !windows

package host

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// superviseArg is an option that no program has. So a program that forgets to
// call Supervise fails at once instead of running itself again and again.
const superviseArg = "-strata.host.supervise"

// The supervisor's own files.
const (
	ordersFD   = 3
	reporterFD = 4
)

// Supervise is called first thing in main by every program that runs steps on
// the host. If Strata started this process to supervise a step, it does so and
// never returns; otherwise it does nothing.
//
// The supervisor starts the command and waits for all of its descendants: on
// Linux as their subreaper, so that those that leave their parents, groups and
// sessions come back to it. It kills what the command leaves behind, and
// everything when Strata dies.
func Supervise() {
	if len(os.Args) == 2 && os.Args[1] == superviseArg {
		// Not os.Exit: a program with the race detector would wait a second there.
		syscall.Exit(supervise())
	}
}

func supervise() int {
	// The kernel ties "kill the child at its parent's death" to the thread.
	runtime.LockOSThread()
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	// Handled and dropped, not ignored: the command would inherit the latter.
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2)
	if err := isolateFiles(); err != nil {
		return fail(err)
	}
	orders, reports := os.NewFile(ordersFD, "orders"), os.NewFile(reporterFD, "reports")
	cmd, err := decodeSpec(orders)
	if err != nil {
		return fail(err)
	}
	if err := adoptOrphans(); err != nil {
		return fail(err)
	}
	unix.Umask(0o022)
	pid, err := syscall.ForkExec(cmd.path, cmd.argv, &syscall.ProcAttr{
		Dir: cmd.dir, Env: cmd.env, Files: []uintptr{0, 1, 2}, Sys: commandAttr(),
	})
	reporter := json.NewEncoder(reports)
	var errno syscall.Errno
	if err != nil && !errors.As(err, &errno) {
		return fail(err)
	}
	if err := reporter.Encode(started{Errno: int(errno)}); err != nil {
		killAll(func() []int { return descendants(pid) })
		return fail(err)
	}
	if errno != 0 {
		return 0
	}
	s := supervision{command: pid, end: ending{ExitCode: -1}, asked: map[int]bool{}}
	s.run(children, readOrders(orders))
	s.end.Usage = childrenUsage()
	if err := reporter.Encode(s.end); err != nil {
		return fail(err)
	}
	return 0
}

// fail tells the user on the step's own standard error: there is no other place.
func fail(err error) int {
	fmt.Fprintln(os.Stderr, "strata: the step's supervisor:", err)
	return 1
}

// isolateFiles keeps all files but the standard ones from the command, also
// those that Strata's own caller left open.
func isolateFiles() error {
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// readOrders returns the orders from Strata. At Strata's end the channel closes.
func readOrders(f *os.File) <-chan byte {
	orders := make(chan byte)
	go func() {
		defer close(orders)
		var b [1]byte
		for {
			if _, err := f.Read(b[:]); err != nil {
				return
			}
			orders <- b[0]
		}
	}()
	return orders
}

// supervision is the state of one supervised command.
type supervision struct {
	command     int
	end         ending
	terminating bool // processes were asked to end and have time for it
	asked       map[int]bool
	killing     bool
}

// run returns when no descendant is left, or only ones that cannot be killed.
func (s *supervision) run(children <-chan os.Signal, orders <-chan byte) {
	for s.reap() {
		if s.terminating && !s.killing {
			// A process that was being made when its parent was asked to end, and
			// ended, has not been asked. It has come back here.
			s.terminate(adopted())
		}
		if s.killing {
			s.end.Left = killAll(func() []int { return descendants(s.command) })
			if len(s.end.Left) > 0 && len(s.end.Left) == len(descendants(s.command)) {
				return
			}
		}
		select {
		case <-children:
		case order, ok := <-orders:
			switch {
			case !ok:
				orders, s.killing = nil, true
			case order == orderKill:
				s.killing = true
			case order == orderTerminate && !s.terminating:
				s.terminating = true
				s.terminate(descendants(s.command))
			}
		}
	}
	s.end.Left = killOrphans(s.command)
}

// reap takes the status of all children that have ended and reports whether
// others are left. What outlives the command is to be killed, unless it was
// asked to end and has time for that.
func (s *supervision) reap() bool {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil: // ECHILD: there are none
			return false
		case pid == 0:
			return true
		case pid == s.command:
			s.end.ExitCode = status.ExitStatus() // -1 for a signal
			if status.Signaled() {
				s.end.Signal = unix.SignalName(status.Signal())
			}
			s.killing = s.killing || !s.terminating
		}
	}
}

// terminate asks those processes to end that were not asked before. Stopped
// ones are woken, or they would not hear of it.
func (s *supervision) terminate(pids []int) {
	for _, pid := range pids {
		if s.asked[pid] {
			continue
		}
		s.asked[pid] = true
		_ = unix.Kill(pid, unix.SIGTERM)
		_ = unix.Kill(pid, unix.SIGCONT)
	}
}

// killAll kills all processes that find finds and returns those that it may not
// kill. A process with SIGKILL pending cannot fork any more, so that one look
// which finds nobody new is the last one.
func killAll(find func() []int) (left []int) {
	killed := map[int]bool{}
	for {
		found := false
		left = nil
		for _, pid := range find() {
			switch err := unix.Kill(pid, unix.SIGKILL); {
			case errors.Is(err, unix.EPERM):
				left = append(left, pid)
			case !killed[pid]:
				killed[pid], found = true, true
			}
		}
		if !found {
			return left
		}
	}
}

// childrenUsage returns what all reaped descendants used.
func childrenUsage() runner.Usage {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_CHILDREN, &u) != nil {
		return runner.Usage{}
	}
	return runner.Usage{
		UserTime:   time.Duration(u.Utime.Nano()),
		SystemTime: time.Duration(u.Stime.Nano()),
		PeakMemory: pipeline.Bytes(u.Maxrss * maxrssUnit),
	}
}

// process is one line of the machine's process table.
type process struct{ pid, parent, group, session int }

// descendantsOf returns the descendants of the process root in a process table.
func descendantsOf(root int, table []process) []int {
	children := map[int][]int{}
	for _, p := range table {
		children[p.parent] = append(children[p.parent], p.pid)
	}
	var found []int
	for queue := []int{root}; len(queue) > 0; queue = queue[1:] {
		next := children[queue[0]]
		delete(children, queue[0]) // a table read while it changes may have circles
		found = append(found, next...)
		queue = append(queue, next...)
	}
	return found
}

// numbers parses the decimal fields of a line.
func numbers(fields [][]byte) ([]int, bool) {
	out := make([]int, len(fields))
	for i, f := range fields {
		n, err := strconv.Atoi(string(bytes.TrimSpace(f)))
		if err != nil {
			return nil, false
		}
		out[i] = n
	}
	return out, true
}
