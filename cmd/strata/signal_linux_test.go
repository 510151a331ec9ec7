package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/internal/filelock"
)

// interruptible are pipelines for signals. A copy of the polite shell that is
// not yet the sleep that it is going to be would take the signal for it, and
// lose it: so the shell waits until it is.
const interruptible = `
polite = sh("""
trap 'echo cleaned up; exit 0' TERM
sleep MARKER &
until grep -q sleep /proc/$!/comm; do :; done
echo begun
wait
""", name = "polite")
pipeline("polite", polite, polite.sh("true", name = "child"))

stubborn = sh("trap '' TERM INT HUP; echo begun; sleep MARKER; sleep MARKER; sleep MARKER", name = "stubborn")
pipeline("stubborn", stubborn, stubborn.sh("true", name = "child"))

pipeline("fine", sh("echo fine", name = "fine"))
`

var (
	stopSignals = map[string]unix.Signal{"Ctrl-C": unix.SIGINT, "SIGTERM": unix.SIGTERM, "SIGHUP": unix.SIGHUP}
	bothRunners = []string{"container", "host"}
)

// TestStop ends runs with one signal, sent to strata alone and to all processes
// of its terminal.
func TestStop(t *testing.T) {
	for _, runner := range bothRunners {
		for name, signal := range stopSignals {
			for _, group := range []bool{false, true} {
				t.Run(runner+"/"+name+map[bool]string{true: "/terminal"}[group], func(t *testing.T) {
					t.Parallel()
					l := newLab(t, interruptible)
					p := l.start("run", "polite", "--runner", runner)
					p.waitFor("polite | begun")
					p.signal(signal, group)
					code, said := p.end()
					if code != 130 {
						t.Errorf("the exit code is %d", code)
					}
					for _, want := range []string{
						" cancelling: " + name + " received", "polite | cleaned up", " polite: cancelled after ",
						" child: cancelled", "polite was cancelled",
					} {
						if !strings.Contains(said, want) {
							t.Errorf("strata did not say %q:\n%s", want, said)
						}
					}
					l.cancelledAndUsable()
				})
			}
		}
	}
}

// TestStopAtOnce ends steps that do not want to end with a second signal.
func TestStopAtOnce(t *testing.T) {
	for _, runner := range bothRunners {
		t.Run(runner, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, interruptible)
			p := l.start("run", "stubborn", "--runner", runner)
			p.waitFor("stubborn | begun")
			p.signal(unix.SIGINT, true)
			p.waitFor("cancelling")
			p.signal(unix.SIGINT, true)
			p.signal(unix.SIGTERM, true) // and who is impatient changes nothing
			if code, said := p.end(); code != 130 || !strings.Contains(said, "stubborn was cancelled") {
				t.Errorf("the exit code is %d:\n%s", code, said)
			}
			l.cancelledAndUsable()
		})
	}
}

func (l *lab) cancelledAndUsable() {
	l.t.Helper()
	l.nothingLeft()
	if status := l.lastRun(); status != "cancelled" {
		l.t.Errorf("the run's status is %q", status)
	}
	l.must("run", "fine")
	l.nothingLeft()
}

// TestStopTheCapture ends runs before their first step: the files of a huge
// workspace are still being copied.
func TestStopTheCapture(t *testing.T) {
	l := newLab(t, interruptible)
	l.write("huge", "")
	if err := os.Truncate(l.project+"/huge", 8<<30); err != nil {
		t.Fatal(err)
	}
	p := l.start("run", "fine")
	p.waitFor("started on")
	p.signal(unix.SIGINT, true)
	if code, said := p.end(); code != 130 || !strings.Contains(said, "fine was cancelled") {
		t.Errorf("the exit code is %d:\n%s", code, said)
	}
	if err := os.Remove(l.project + "/huge"); err != nil {
		t.Fatal(err)
	}
	l.cancelledAndUsable()
}

// TestNohup lets runs go on whose terminal is closed, as nohup(1) asks for.
func TestNohup(t *testing.T) {
	l := newLab(t, `pipeline("ci", sh("echo begun; read line < $FIFO", name = "step", runner = "host"))`)
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	p := l.prepare("run", "--env", "FIFO="+fifo)
	p.cmd.Args = append([]string{"sh", "-c", `trap '' HUP; exec strata "$@"`}, p.cmd.Args...)
	var err error
	if p.cmd.Path, err = exec.LookPath("sh"); err != nil {
		t.Fatal(err)
	}
	p.run()
	p.waitFor("step | begun")
	p.signal(unix.SIGHUP, false)
	if err := os.WriteFile(fifo, []byte("go on\n"), 0); err != nil {
		t.Fatal(err)
	}
	if code, said := p.end(); code != 0 {
		t.Errorf("the exit code is %d:\n%s", code, said)
	}
}

// TestClosedPipe reads the first lines of a run and goes away.
func TestClosedPipe(t *testing.T) {
	for _, runner := range bothRunners {
		t.Run(runner, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, strings.Replace(interruptible, "echo begun", "while echo begun; do sleep 0.02; done", 1))
			p := l.prepare("run", "polite", "--format", "json", "--runner", runner)
			stdout, err := p.cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			p.run()
			for reader, line := bufio.NewReader(stdout), ""; !strings.Contains(line, "step_output"); {
				if line, err = reader.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
			}
			if err := stdout.Close(); err != nil {
				t.Fatal(err)
			}
			if code, said := p.end(); code != 130 || said != "" {
				t.Errorf("the exit code is %d, and strata said %q", code, said)
			}
			l.cancelledAndUsable()
		})
	}
}

// TestKilled kills strata itself in the middle of a step.
func TestKilled(t *testing.T) {
	for _, runner := range bothRunners {
		t.Run(runner, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, `
first = sh("echo made > file", name = "first")
stubborn = first.sh("trap '' TERM INT HUP; echo begun; sleep MARKER; sleep MARKER; sleep MARKER", name = "stubborn")
pipeline("stubborn", first, stubborn)
pipeline("fine", sh("true", name = "fine"))
`)
			p := l.start("run", "stubborn", "--runner", runner)
			p.waitFor("stubborn | begun")
			var all []int
			for _, pid := range l.processes() {
				fd, err := unix.PidfdOpen(pid, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer unix.Close(fd)
				all = append(all, fd)
			}
			if len(all) < 2 {
				t.Fatalf("strata and its step have %d processes", len(all))
			}
			p.signal(unix.SIGKILL, false)
			p.end()
			for _, fd := range all {
				awaitExit(t, fd)
			}
			l.awaitLocks()
			l.must("run", "fine")
			l.nothingLeft()
			runs := l.must("runs")
			if !strings.Contains(runs, " interrupted ") {
				t.Errorf("strata runs does not tell of the killed run:\n%s", runs)
			}
		})
	}
}

// awaitLocks waits until the locks of steps are free: a process that has ended
// for those who wait for it may still be closing its files.
func (l *lab) awaitLocks() {
	l.t.Helper()
	locks, err := filepath.Glob(filepath.Join(l.home, "hosts", "steps", "*.lock"))
	if err != nil {
		l.t.Fatal(err)
	}
	for _, path := range locks {
		lock, err := filelock.Open(path, filelock.Exclusive)
		if err != nil {
			l.t.Fatal(err)
		}
		lock.Close()
	}
}

// awaitExit waits for the end of the process that the descriptor stands for.
func awaitExit(t *testing.T, pidfd int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(time.Until(deadline).Milliseconds()))
		switch {
		case err == unix.EINTR:
		case err != nil:
			t.Fatal(err)
		case n == 0:
			t.Fatal("a process of the step has survived strata")
		default:
			return
		}
	}
}
