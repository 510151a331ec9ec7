package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a test waits for what has to happen, before it fails.
const patience = 60 * time.Second

// lab is a project with a home of its own, in which strata runs as a process.
type lab struct {
	t             *testing.T
	project, home string
	// marker is an argument of the steps' processes by which they are found.
	marker string
}

func newLab(t *testing.T, pipeline string) *lab {
	t.Helper()
	dir := t.TempDir()
	l := &lab{t: t, project: filepath.Join(dir, "project"), home: filepath.Join(dir, "state")}
	// So many seconds that they are nobody else's.
	l.marker = fmt.Sprintf("%d.%d", 100_000+os.Getpid(), time.Now().UnixNano())
	l.write(".strata/ci.star", strings.ReplaceAll(pipeline, "MARKER", l.marker))
	return l
}

func (l *lab) write(name, text string) {
	l.t.Helper()
	path := filepath.Join(l.project, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) command(args ...string) *exec.Cmd {
	cmd := exec.Command("strata", args...)
	cmd.Dir = l.project
	cmd.Env = append(os.Environ(), "STRATA_HOME="+l.home, "GORACE=atexit_sleep_ms=0")
	return cmd
}

// must runs strata to its end, which has to be a good one, and returns its
// standard output.
func (l *lab) must(args ...string) string {
	l.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := l.command(args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		l.t.Fatalf("strata %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String()
}

// lastRun returns how the history tells the latest run's end.
func (l *lab) lastRun() (status string) {
	l.t.Helper()
	var runs []struct{ Status string }
	if err := json.Unmarshal([]byte(l.must("runs", "--json")), &runs); err != nil || len(runs) == 0 {
		l.t.Fatalf("strata runs --json: %v, %d runs", err, len(runs))
	}
	return runs[0].Status
}

// nothingLeft fails the test if anything of a run is still there.
func (l *lab) nothingLeft() {
	l.t.Helper()
	for _, pid := range l.processes() {
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		l.t.Errorf("process %d is left: %q", pid, cmdline)
	}
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || bytes.Contains(mounts, []byte(l.home)) {
		l.t.Errorf("a mount is left below %s (%v)", l.home, err)
	}
	for _, pattern := range []string{"containers/live/run-*", "hosts/steps/*", "hosts/snapshots/*", "projects/*/layers/new"} {
		left, err := filepath.Glob(filepath.Join(l.home, pattern))
		if err != nil || len(left) > 0 {
			l.t.Errorf("left: %v (%v)", left, err)
		}
	}
}

// processes returns those that carry the marker or belong to this lab's strata.
func (l *lab) processes() []int {
	l.t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		l.t.Fatal(err)
	}
	var found []int
	for _, e := range entries {
		var pid int
		if _, err := fmt.Sscan(e.Name(), &pid); err != nil {
			continue
		}
		// A process may be gone by now.
		cmdline, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		environ, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if bytes.Contains(cmdline, []byte(l.marker)) || bytes.Contains(environ, []byte("STRATA_HOME="+l.home+"\x00")) {
			found = append(found, pid)
		}
	}
	return found
}

// process is a strata that runs.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
	said  []string // by the standard error, as far as it was read
}

// start starts strata in a process group of its own.
func (l *lab) start(args ...string) *process {
	l.t.Helper()
	p := l.prepare(args...)
	p.run()
	return p
}

func (l *lab) prepare(args ...string) *process {
	return &process{t: l.t, cmd: l.command(args...), lines: make(chan string)}
}

func (p *process) run() {
	p.t.Helper()
	p.cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(stderr); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
}

// waitFor returns when strata has said text.
func (p *process) waitFor(text string) {
	p.t.Helper()
	limit := time.After(patience)
	for {
		select {
		case line, more := <-p.lines:
			if !more {
				p.t.Fatalf("strata never said %q:\n%s", text, strings.Join(p.said, "\n"))
			}
			p.said = append(p.said, line)
			if strings.Contains(line, text) {
				return
			}
		case <-limit:
			p.kill()
			p.t.Fatalf("strata did not say %q:\n%s", text, strings.Join(p.said, "\n"))
		}
	}
}

func (p *process) kill() { _ = unix.Kill(-p.cmd.Process.Pid, unix.SIGKILL) }

// signal sends a signal to strata alone, or to its whole process group as a
// terminal does.
func (p *process) signal(s unix.Signal, group bool) {
	p.t.Helper()
	pid := p.cmd.Process.Pid
	if group {
		pid = -pid
	}
	if err := unix.Kill(pid, s); err != nil {
		p.t.Fatal(err)
	}
}

// end waits for strata's end and returns its exit code and all that it said.
func (p *process) end() (code int, said string) {
	p.t.Helper()
	limit := time.AfterFunc(patience, p.kill)
	defer limit.Stop()
	for line := range p.lines {
		p.said = append(p.said, line)
	}
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, io.ErrClosedPipe) {
		p.t.Fatal(err)
	}
	return p.cmd.ProcessState.ExitCode(), strings.Join(p.said, "\n")
}
