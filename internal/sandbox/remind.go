//go:build linux

package sandbox

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// remindEvery is how often processes are asked again. It only has to be short
// beside a grace time, which is some seconds.
const remindEvery = 500 * time.Millisecond

// remind asks processes again to end, once they were asked, until done: those
// whose signal was lost. A process that is being made has its parent's handler
// until it executes its program, and what the handler then notes is gone.
func (w *world) remind(done <-chan struct{}) {
	ticker := time.NewTicker(remindEvery)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
		}
		if !w.terminating.Load() {
			continue
		}
		for _, pid := range w.defenceless() {
			_ = unix.Kill(pid, unix.SIGTERM) // ESRCH: it has ended
		}
	}
}

// defenceless returns the processes that SIGTERM ends at once, so that none of
// them can have got it.
func (w *world) defenceless() []int {
	files, err := filepath.Glob(filepath.Join(w.proc, "[0-9]*", "status"))
	if err != nil {
		return nil // cannot be: the pattern is well-formed
	}
	var found []int
	for _, file := range files {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil || pid == os.Getpid() {
			continue
		}
		status, err := os.ReadFile(file)
		if err == nil && !minds(string(status), unix.SIGTERM) {
			found = append(found, pid)
		}
	}
	return found
}

// minds reports whether a process with that /proc/PID/status has a handler for
// the signal, or ignores or blocks it.
func minds(status string, signal unix.Signal) bool {
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		if name != "SigBlk" && name != "SigIgn" && name != "SigCgt" {
			continue
		}
		mask, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		if err != nil || mask>>(signal-1)&1 == 1 {
			return true
		}
	}
	return false
}
