//go:build linux && faults

package crashtest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// told fails where a command does not end with one line that has these words.
func (o outcome) told(t testing.TB, words ...string) {
	t.Helper()
	const infrastructure = 3
	if o.code != infrastructure {
		t.Errorf("the exit code is not %d: %v", infrastructure, o)
	}
	for _, word := range words {
		if !strings.Contains(o.stdout+o.stderr, word) {
			t.Errorf("nothing says %q: %v", word, o)
		}
	}
	if lines := strings.Count(o.stderr, "\n"); lines > 2 {
		t.Errorf("%d lines say what one can: %v", lines, o)
	}
}

// TestNewerRecords has records that a later version of Strata wrote: every
// command says so, and changes nothing.
func TestNewerRecords(t *testing.T) {
	s := newSite(t)
	s.rightRun("good", "nothing")
	path := filepath.Join(s.home, "records.db")
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = db.ExecContext(t.Context(), `PRAGMA user_version = 99`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	before := s.contents()
	for _, args := range [][]string{
		runArgs("good"),
		{"run", "good", "--dry-run"},
		{"runs"},
		{"why", "a"},
		{"cache", "ls"},
		{"cache", "prune", "--all"},
		{"doctor", "--repair"},
	} {
		s.run(nil, args...).told(t, path, "format 99", "newer Strata", "STRATA_HOME")
		if after := s.contents(); after != before {
			t.Errorf("strata %q changes the state directory:\n%s\n\n%s", args, before, after)
		}
	}
}

// contents are all files of the state directory, with what is in them.
func (s *site) contents() string {
	s.Helper()
	var b bytes.Buffer
	err := filepath.WalkDir(s.home, func(path string, d fs.DirEntry, err error) error {
		var data []byte
		if err == nil && d.Type().IsRegular() {
			data, err = os.ReadFile(path)
		}
		fmt.Fprintf(&b, "%s %v %q\n", path, d.Type(), data)
		return err
	})
	if err != nil {
		s.Fatal(err)
	}
	return b.String()
}

// TestNoLocks has a file system that refuses locks, as some networks' do.
func TestNoLocks(t *testing.T) {
	for _, refusal := range []string{"ENOLCK", "EOPNOTSUPP", "ENOSYS"} {
		s := newSite(t)
		o := s.wrapped([]string{"strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=flock", "-e", "inject=flock:error=" + refusal}, runArgs("good")...)
		o.told(t, s.home, "no locks", "STRATA_HOME to a directory on a local disk")
		s.again("good", "no locks")
	}
}

// wrapped runs strata by another program, to its end.
func (s *site) wrapped(wrapper []string, args ...string) outcome {
	s.Helper()
	if _, err := exec.LookPath(wrapper[0]); err != nil {
		s.Fatalf("install %s (.ci/run does it): %v", wrapper[0], err)
	}
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	plain := s.command(ctx, nil, args...)
	cmd := exec.CommandContext(ctx, wrapper[0], append(append(wrapper[1:len(wrapper):len(wrapper)], s.strata), args...)...)
	cmd.Dir, cmd.Env = plain.Dir, plain.Env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		s.Fatal(err)
	}
	return s.outcome(cmd, args, stdout.String(), stderr.String())
}

// TestNoFileTypes has a file system whose directories do not say what their
// names are (d_type of readdir(3)).
func TestNoFileTypes(t *testing.T) {
	s := newSite(t)
	disk := filepath.Join(filepath.Dir(s.project), "disk")
	image := disk + ".img"
	for _, args := range [][]string{
		{"truncate", "-s", "64M", image},
		{"mkfs.ext4", "-q", "-O", "^filetype", image},
		{"mkdir", disk},
		{"mount", "-o", "loop", image, disk},
	} {
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q (.ci/run installs it): %v\n%s", args, err, out)
		}
	}
	t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
	s.home = filepath.Join(disk, "state")
	s.again("good", "no file types")
	s.again("bad", "no file types")
	s.edit("c.txt")
	s.again("good", "no file types")
	s.whole("no file types")
}

// TestAnothersState has a state directory that belongs to somebody else.
func TestAnothersState(t *testing.T) {
	const nobody = 65534
	for _, mode := range []os.FileMode{0o755, 0o700} {
		s := newSite(t)
		for _, dir := range []string{filepath.Dir(s.project), s.project, filepath.Dir(s.strata)} {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		s.rightRun("good", "nothing")
		if err := os.Chmod(s.home, mode); err != nil {
			t.Fatal(err)
		}
		before := s.contents()
		for _, args := range [][]string{runArgs("good"), {"run", "good", "--dry-run"}, {"runs"}, {"why", "a"}, {"cache", "prune", "--all"}} {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			cmd := s.command(ctx, []string{"HOME=/nonexistent", "XDG_CONFIG_HOME="}, args...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			_ = cmd.Run() // its end is in the process's state
			cancel()
			if cmd.ProcessState == nil {
				t.Fatal("strata does not start as another user")
			}
			s.outcome(cmd, args, stdout.String(), stderr.String()).told(t, "make all of "+s.home+" yours", "STRATA_HOME")
		}
		if after := s.contents(); after != before {
			t.Errorf("another user changes the state directory:\n%s\n\n%s", before, after)
		}
	}
}

// TestRootInAnothersState has root work in the state directory of an ordinary
// user: it says once what that means for the user.
func TestRootInAnothersState(t *testing.T) {
	s := newSite(t)
	if err := errors.Join(os.Mkdir(s.home, 0o700), os.Chown(s.home, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	o := s.run(nil, runArgs("good")...)
	if err := s.check("good", o); err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{s.home, "belongs to the user with ID 65534", "STRATA_HOME"} {
		if strings.Count(o.stderr, word) != 1 {
			t.Errorf("%q is not told once: %v", word, o)
		}
	}
}
