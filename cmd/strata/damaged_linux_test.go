package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/internal/records"
)

const cachedPipeline = `
build = sh("echo built > built", name = "build", cache = forever())
test = build.sh("echo got $(cat built)", name = "test", cache = forever())
pipeline("ci", [test])
`

// try runs strata to its end and returns its exit code and what it said.
func (l *lab) try(args ...string) (code int, text string) {
	l.t.Helper()
	out, err := l.command(args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		l.t.Fatal(err)
	}
	if exit != nil {
		code = exit.ExitCode()
	}
	return code, string(out)
}

// TestDamagedRecords damages one page of the records after another. Every run
// passes, or says that the records are damaged; the one after it passes with
// new ones.
func TestDamagedRecords(t *testing.T) {
	l := newLab(t, cachedPipeline)
	l.must("run")
	good := l.home
	path := records.Path(good)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	found := 0
	for n := 0; n < len(data)/page; n += 3 {
		l.home = fmt.Sprintf("%s-%d", good, n)
		if out, err := exec.Command("cp", "-a", good, l.home).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		bad := bytes.Clone(data)
		copy(bad[n*page:], bytes.Repeat([]byte{0xa5}, page))
		if err := os.WriteFile(records.Path(l.home), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		code, text := l.try("run")
		aside, _ := filepath.Glob(records.Path(l.home) + ".damaged-*")
		told := strings.Count(text, "steps that were cached run again")
		if code != 0 && (code != exitInfra || !strings.Contains(text, "they are damaged")) {
			t.Errorf("page %d: exit code %d:\n%s", n, code, text)
		}
		if (told == 1) != (len(aside) > 0) {
			t.Errorf("page %d: told %d times; set aside are %v:\n%s", n, told, aside, text)
		}
		found += told
		if code, text := l.try("run"); code != 0 || len(aside) > 0 && strings.Contains(text, "damaged") {
			t.Errorf("page %d: exit code %d of the next run:\n%s", n, code, text)
		}
		if code, text := l.try("run"); code != 0 || !strings.Contains(text, "2 cached") {
			t.Errorf("page %d: exit code %d, and not all is cached:\n%s", n, code, text)
		}
	}
	if found == 0 {
		t.Error("no damage was found")
	}
}

// TestDamagedSnapshot: what a child starts from is looked at. If it is not as it
// was, it is made again, and the child passes on that.
func TestDamagedSnapshot(t *testing.T) {
	for _, runner := range []string{"container", "host"} {
		for _, damage := range []func(file string) error{
			func(file string) error { return os.WriteFile(file, []byte("wrong"), 0o644) },
			os.Remove,
		} {
			l := newLab(t, cachedPipeline)
			l.must("run", "--runner", runner)
			l.write(".strata/ci.star", strings.ReplaceAll(cachedPipeline, "got", "now got"))
			if err := damage(l.find("built")); err != nil {
				t.Fatal(err)
			}
			code, text := l.try("run", "--runner", runner)
			if code != 0 || !strings.Contains(text, "test | now got built\n") || strings.Count(text, "build: started") != 1 {
				t.Errorf("%s: exit code %d:\n%s", runner, code, text)
			}
			if code, text := l.try("run", "--runner", runner); code != 0 || !strings.Contains(text, "2 cached") {
				t.Errorf("%s: exit code %d of the next run:\n%s", runner, code, text)
			}
		}
	}
}

// find returns the path of a file in what runners keep of the step build.
func (l *lab) find(name string) (found string) {
	l.t.Helper()
	for _, below := range []string{"containers", "hosts"} {
		err := filepath.WalkDir(filepath.Join(l.home, below), func(path string, d os.DirEntry, err error) error {
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			if err == nil && d.Name() == name && d.Type().IsRegular() && !strings.Contains(path, ".test/") {
				found = path
			}
			return err
		})
		if err != nil {
			l.t.Fatal(err)
		}
	}
	if found == "" {
		l.t.Fatalf("no runner keeps a file %s", name)
	}
	return found
}

// TestKilledHolder: a run that waits for what another makes goes on by itself
// when that is killed.
func TestKilledHolder(t *testing.T) {
	l := newLab(t, `
build = sh("test -e go || sleep MARKER; echo built > built", name = "build", cache = on_change("src"))
test = build.sh("echo got $(cat built)", name = "test", cache = forever())
pipeline("ci", [test])
`)
	l.write("src", "1")
	first := l.start("run")
	first.waitFor("build: started")
	l.write("go", "") // no input, so that both runs need the same result
	second := l.start("run")
	second.waitFor("waiting for its result")
	first.signal(unix.SIGKILL, false)
	first.end()
	if code, text := second.end(); code != 0 || !strings.Contains(text, "got built") {
		t.Errorf("exit code %d of the second run:\n%s", code, text)
	}
	if code, text := l.try("run"); code != 0 || !strings.Contains(text, "2 cached") {
		t.Errorf("exit code %d of the next run:\n%s", code, text)
	}
}

// TestKilledAfterAnEntry: what was kept when the process was killed is a hit for
// the next, and its snapshot is whole.
func TestKilledAfterAnEntry(t *testing.T) {
	for _, runner := range []string{"container", "host"} {
		l := newLab(t, `
build = sh("echo built > built", name = "build", cache = forever())
slow = build.sh("sleep MARKER", name = "slow")
test = build.sh("echo got $(cat built)", name = "test")
pipeline("ci", [slow, test])
`)
		first := l.start("run", "--runner", runner)
		first.waitFor("slow: started")
		// Whoever needs the same waits until the entry is written.
		if text := l.must("run", "--runner", runner, "--step", "build", "--format", "json"); !strings.Contains(text, `"cached"`) {
			t.Errorf("%s: the result is not used:\n%s", runner, text)
		}
		first.signal(unix.SIGKILL, false)
		first.end()
		code, text := l.try("run", "--runner", runner, "--step", "test")
		if code != 0 || !strings.Contains(text, "build: cached: the result of run") || !strings.Contains(text, "test | got built") {
			t.Errorf("%s: exit code %d:\n%s", runner, code, text)
		}
	}
}
