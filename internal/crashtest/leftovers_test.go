//go:build linux && faults

package crashtest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// clean fails where a crash has left something behind that the start after it
// has not removed.
func (s *site) clean(after string) {
	s.Helper()
	s.alone(after)
	if left := s.leftFiles(); len(left) > 0 {
		s.Fatalf("%s: these are left: %q", after, left)
	}
	if found := s.contradictions(); len(found) > 0 {
		s.Fatalf("%s: %q", after, found)
	}
	if len(s.groups()) > 0 {
		// The last process of a group is about to leave it for a moment after it
		// can be seen there (cgroup_exit in kernel/exit.c), which is EBUSY.
		s.rightRun("good", after)
	}
	if left := s.groups(); len(left) > 0 {
		s.Fatalf("%s: these are left: %q", after, left)
	}
	s.killed = nil
}

// whole fails where strata doctor finds anything to repair, in all that is kept.
func (s *site) whole(after string) {
	s.Helper()
	if o := s.run(nil, "doctor", "--repair", "--json"); o.code != 0 || strings.TrimSpace(o.stdout) != "[]" {
		s.Fatalf("%s: %v", after, o)
	}
}

// alone waits until all processes and mounts are gone, which need nobody for that.
func (s *site) alone(after string) {
	s.Helper()
	for _, find := range []func() []string{s.processes, s.mounts} {
		if left := eventuallyNone(find); len(left) > 0 {
			s.Fatalf("%s: these are left: %q", after, left)
		}
	}
}

// eventuallyNone looks again for a while: the kernel ends processes, and what
// belongs to them, after their parents.
func eventuallyNone(find func() []string) []string {
	for deadline := time.Now().Add(patience / 6); ; time.Sleep(time.Millisecond) {
		left := find()
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
	}
}

// processes are those with the mark in their environment, and all that execute
// the program: it is the parent of everything that a step runs. Whose a process
// was that is about to end, cannot be told: it may still have files open.
func (s *site) processes() (left []string) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		s.Fatal(err)
	}
	for _, dir := range dirs {
		exe, exeErr := os.Readlink(filepath.Join(dir, "exe"))
		env, _ := os.ReadFile(filepath.Join(dir, "environ"))
		ending := errors.Is(exeErr, fs.ErrNotExist) && isEnding(dir)
		if ending || exe == s.strata || bytes.Contains(env, []byte(markVariable+"="+s.mark+"\x00")) {
			cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
			left = append(left, fmt.Sprintf("%s: %q", dir, cmdline))
		}
	}
	return left
}

// isEnding reports whether a process without a program is one of which a thread
// is about to end, and not a thread of the kernel, whose parent is PID 2.
func isEnding(dir string) bool {
	stats, err := filepath.Glob(filepath.Join(dir, "task", "*", "stat"))
	if err != nil {
		return false // cannot be: the pattern is well-formed
	}
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue // it has ended
		}
		// PID (NAME) STATE PARENT …: proc_pid_stat(5)
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		state, parent := fields[0], fields[1]
		if state != "Z" && state != "X" && parent != "0" && parent != "2" {
			return true
		}
	}
	return false
}

// mounts are those of the state directory, but not of the disk that it is on.
func (s *site) mounts() (left []string) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		s.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, s.home+"/") {
			left = append(left, strings.TrimSpace(line))
		}
	}
	return left
}

var groupName = regexp.MustCompile(`^strata-([0-9]+)-`)

// groups are the control groups of killed processes.
func (s *site) groups() (left []string) {
	if len(s.killed) == 0 {
		return nil
	}
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return nil // groups of others come and go
		}
		if m := groupName.FindStringSubmatch(e.Name()); m != nil {
			if pid, _ := strconv.Atoi(m[1]); slices.Contains(s.killed, pid) {
				left = append(left, path)
			}
		}
		return nil
	})
	if err != nil {
		s.Fatal(err)
	}
	return left
}

// lasting are all files that a state directory has while nobody uses it; what
// ends in "/" is a directory whose contents are not looked at.
var lasting = regexp.MustCompile(`^(` + strings.Join([]string{
	`records\.(lock|db(-wal|-shm)?)`,
	`runs/\.lock`, `runs/[^/]+/journal\.ndjson`, `runs/[^/]+/logs/[^/]+\.log`,
	`projects/[^/]+/(index|lock)`, `projects/[^/]+/layers/[0-9]+/(lock|tree/)`,
	`containers/(boot|machine\.json|live/lock)`, `containers/host/(lock|[0-9a-f]+(-unstackable)?/)`, `containers/layers/[^/]+/`,
	`hosts/lock`, `hosts/snapshots/[^/]+/`,
	`cache/(collect\.lock|reserve)`, `cache/logs/[^/]+/[^/]+`,
}, "|") + `)$`)

// passing are directories that lead to lasting ones.
var passing = regexp.MustCompile(`^(` + strings.Join([]string{
	`runs(/\.live|/\.trash|/[^/.][^/]*(/logs)?)?`, `projects(/[^/]+(/layers(/[0-9]+)?)?)?`,
	`containers(/host|/layers|/live)?`, `hosts(/steps|/owners|/snapshots)?`, `cache(/locks|/logs(/[^/]+)?)?`,
}, "|") + `)$`)

// leftFiles are files of the state directory that no rule explains.
func (s *site) leftFiles() (left []string) {
	err := filepath.WalkDir(s.home, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(s.home, path)
		switch {
		case err != nil || name == ".":
			return err
		case !e.IsDir() && lasting.MatchString(name), e.IsDir() && passing.MatchString(name):
			return nil
		case e.IsDir() && lasting.MatchString(name+"/"):
			return fs.SkipDir
		}
		left = append(left, name)
		if e.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		s.Fatal(err)
	}
	return left
}
