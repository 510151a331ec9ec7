package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const colourful = `
build = sh("echo built", name = "build")
broken = build.sh("printf '\\033[31mred\\033[0m\\n'; echo what is wrong; exit 3", name = "broken")
pipeline("ci", build, broken, broken.sh("true", name = "child"))
pipeline("stop", sh("echo begun; sleep MARKER", name = "step"))
`

// TestTerminal runs strata on terminals of 80 columns and 24 rows.
func TestTerminal(t *testing.T) {
	for name, test := range map[string]struct {
		env       []string
		colours   bool
		sequences bool
	}{
		"colours":  {env: []string{"TERM=xterm-256color"}, colours: true, sequences: true},
		"NO_COLOR": {env: []string{"TERM=xterm-256color", "NO_COLOR=1"}, sequences: true},
		"dumb":     {env: []string{"TERM=dumb"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			terminal := newLab(t, colourful).onTerminal(test.env, "run", "ci")
			screen := terminal.read("")
			if code := terminal.wait(); code != 1 {
				t.Errorf("the exit code is %d", code)
			}
			if got := strings.Contains(screen, "\x1b"); got != test.sequences {
				t.Errorf("escape sequences: %v\n%q", got, screen)
			}
			if got := regexp.MustCompile(`\x1b\[[0-9;]*m`).MatchString(screen); got != test.colours {
				t.Errorf("colours: %v\n%q", got, screen)
			}
			if shown, hidden := strings.LastIndex(screen, "\x1b[?25h"), strings.LastIndex(screen, "\x1b[?25l"); shown < hidden {
				t.Errorf("the cursor is hidden at the end:\n%q", screen)
			}
			if !strings.Contains(readable(screen), "what is wrong\r\n") {
				t.Errorf("the output of the failed step is missing:\n%q", screen)
			}
			lines := strings.Split(strings.TrimRight(readable(screen), "\r\n"), "\n")
			if last := lines[len(lines)-1]; !strings.Contains(last, "ci failed") || !strings.Contains(last, "1 failed, 1 skipped, 1 passed") {
				t.Errorf("the last line is %q", last)
			}
		})
	}
}

// TestCtrlC presses the key on a terminal.
func TestCtrlC(t *testing.T) {
	l := newLab(t, colourful)
	terminal := l.onTerminal([]string{"TERM=xterm"}, "run", "stop")
	terminal.read("begun")
	if _, err := terminal.master.WriteString("\x03"); err != nil {
		t.Fatal(err)
	}
	screen := terminal.read("")
	if code := terminal.wait(); code != 130 || !strings.Contains(readable(screen), "stop was cancelled") {
		t.Errorf("the exit code is %d:\n%q", code, screen)
	}
	if !strings.Contains(screen, "\x1b[?25h") {
		t.Errorf("the cursor is hidden at the end:\n%q", screen)
	}
	l.nothingLeft()
}

// readable returns what is printed without what moves and colours it.
func readable(screen string) string {
	return regexp.MustCompile(`\x1b\[[0-9;?]*[a-zA-Z]`).ReplaceAllString(screen, "")
}

// terminal is a terminal of 80 columns and 24 rows with a strata on it.
type terminal struct {
	t      *testing.T
	cmd    *exec.Cmd
	master *os.File
}

// onTerminal starts strata on a terminal of its own.
func (l *lab) onTerminal(env []string, args ...string) *terminal {
	l.t.Helper()
	master, slave := openTerminal(l.t)
	defer slave.Close()
	cmd := l.command(args...)
	for _, kv := range cmd.Env {
		if !strings.HasPrefix(kv, "NO_COLOR=") && !strings.HasPrefix(kv, "TERM=") {
			env = append(env, kv)
		}
	}
	cmd.Env = env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	return &terminal{t: l.t, cmd: cmd, master: master}
}

func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// read returns what is printed until text is, or, where text is empty, until
// nobody has the terminal open any more.
func (s *terminal) read(text string) string {
	s.t.Helper()
	var all strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := s.master.Read(buf)
		all.Write(buf[:n])
		switch {
		case text != "" && strings.Contains(all.String(), text):
			return all.String()
		case err != nil && text == "": // EIO: the other side is closed
			return all.String()
		case err != nil:
			s.t.Fatalf("%q was never printed:\n%q", text, all.String())
		}
	}
}

func (s *terminal) wait() int {
	_ = s.cmd.Wait() // its exit code tells
	return s.cmd.ProcessState.ExitCode()
}
