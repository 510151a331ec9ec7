package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-ci/strata/internal/journal"
)

// readLines returns the lines of a journal, and fails on a torn one.
func readLines(t *testing.T, dir string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "journal.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	text, whole := strings.CutSuffix(string(data), "\n")
	if !whole && len(data) > 0 {
		t.Fatalf("the journal ends in a torn line: %q", data[bytes.LastIndexByte(data, '\n')+1:])
	}
	return strings.Split(text, "\n")
}

func TestAppendIsInTheFileWhenItReturns(t *testing.T) {
	w := create(t, t.TempDir(), "r1")
	for i, e := range []journal.Event{runStarted("a"), started("a"), finished("a", journal.Passed)} {
		add(t, w, e)
		if got := len(readLines(t, w.Dir())); got != i+1 {
			t.Fatalf("%d lines after %d events", got, i+1)
		}
	}
}

func TestAppendRefusesWhatCannotBe(t *testing.T) {
	tests := []struct {
		name   string
		before []journal.Event
		event  journal.Event
	}{
		{"no run_started", nil, started("a")},
		{"a second run_started", []journal.Event{runStarted("a")}, runStarted("a")},
		{"a second start", []journal.Event{runStarted("a"), started("a")}, started("a")},
		{"a path as a step", []journal.Event{runStarted("a")}, started("../a")},
		{"after the end", []journal.Event{runStarted("a"), runFinished(journal.Passed)}, started("a")},
		{"what is no JSON", []journal.Event{runStarted("a")}, journal.Event{Type: journal.Notice, DurationMS: nan()}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := create(t, t.TempDir(), "r1")
			add(t, w, tt.before...)
			if err := w.Append(tt.event); err == nil {
				t.Error("no error")
			}
			events, err := w.Run().Events()
			if err != nil || len(events) != len(tt.before) {
				t.Errorf("%d events where %d were written, %v", len(events), len(tt.before), err)
			}
		})
	}
}

func nan() float64 {
	zero := 0.0
	return zero / zero
}

func TestCreateRefuses(t *testing.T) {
	runs := t.TempDir()
	pass(t, runs, "r1")
	if _, err := journal.Create(runs, "r1", clock()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("an ID that is taken: %v", err)
	}
	for _, id := range []string{"", "..", "a/b", ".hidden", strings.Repeat("x", 65)} {
		if _, err := journal.Create(runs, id, clock()); err == nil {
			t.Errorf("no error for the ID %q", id)
		}
	}
}

func TestConcurrentWritesStayWhole(t *testing.T) {
	const streams, rounds = 4, 500
	w := create(t, t.TempDir(), "r1")
	add(t, w, runStarted("a"), started("a"))
	log, err := w.Log("a")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for s := range streams {
		wg.Go(func() {
			for i := range rounds {
				if _, err := fmt.Fprintf(log, "%d %d\n", s, i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	add(t, w, finished("a", journal.Passed))

	next := make([]int, streams)
	lines := strings.Split(strings.TrimSuffix(readLog(t, w.Run(), "a"), "\n"), "\n")
	for _, line := range lines {
		var s, i int
		if _, err := fmt.Sscanf(line, "%d %d", &s, &i); err != nil || line != fmt.Sprintf("%d %d", s, i) || i != next[s] {
			t.Fatalf("the line %q is torn or out of order", line)
		}
		next[s]++
	}
	if len(lines) != streams*rounds {
		t.Errorf("%d lines of %d", len(lines), streams*rounds)
	}
}

func readLog(t *testing.T, run *journal.Run, step string) string {
	t.Helper()
	log, err := run.OpenLog(step)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(log); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestLogIsByteExact(t *testing.T) {
	output := "no end of line, \xff\xfe, \x00, \r\n\x1b[31m"
	w := create(t, t.TempDir(), "r1")
	add(t, w, runStarted("a", "silent"), started("a"), started("silent"))
	write(t, w, "a", output)
	add(t, w, finished("a", journal.Passed), finished("silent", journal.Passed))
	if got := readLog(t, w.Run(), "a"); got != output {
		t.Errorf("the log is %q", got)
	}
	if got := readLog(t, w.Run(), "silent"); got != "" {
		t.Errorf("the log of a silent step is %q", got)
	}
	events, err := w.Run().Events()
	if err != nil || events[3].LogBytes != int64(len(output)) {
		t.Errorf("log_bytes is %d of %d, %v", events[3].LogBytes, len(output), err)
	}
}

func TestNothingIsLoggedOutsideOfAStep(t *testing.T) {
	w := create(t, t.TempDir(), "r1")
	add(t, w, runStarted("a"))
	if _, err := w.Log("a"); err == nil {
		t.Error("a log before the step's start")
	}
	add(t, w, started("a"))
	log, err := w.Log("a")
	if err != nil {
		t.Fatal(err)
	}
	add(t, w, finished("a", journal.Passed))
	if _, err := log.Write([]byte("late")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("output after the step's end: %v", err)
	}
	if got := readLog(t, w.Run(), "a"); got != "" {
		t.Errorf("the log is %q", got)
	}
}

func TestLogFilesAreDistinctAndSafe(t *testing.T) {
	steps := []string{"a", "A", "ab", "aB", "Ab", "con", "CON", "nul.x", "Com1", "LPT9.log", "com", "a.b-c_d"}
	w := create(t, t.TempDir(), "r1")
	add(t, w, runStarted(steps...))
	for _, s := range steps {
		add(t, w, started(s))
		write(t, w, s, s)
	}
	entries, err := os.ReadDir(filepath.Join(w.Dir(), "logs"))
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, e := range entries {
		folded := strings.ToLower(e.Name())
		if seen[folded] {
			t.Errorf("two steps share %s where case is ignored", folded)
		}
		seen[folded] = true
		switch base, _, _ := strings.Cut(folded, "."); base {
		case "con", "nul", "com1", "lpt9":
			t.Errorf("%s is a device on Windows", e.Name())
		}
	}
	if len(entries) != len(steps) {
		t.Errorf("%d logs of %d steps", len(entries), len(steps))
	}
	for _, s := range steps {
		if got := readLog(t, w.Run(), s); got != s {
			t.Errorf("the log of %s is %q", s, got)
		}
	}
}

func TestReaderStaysInTheRunsDirectory(t *testing.T) {
	runs := t.TempDir()
	pass(t, runs, "r1")
	secret := filepath.Join(runs, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := open(t, filepath.Join(runs, "r1"))
	for _, step := range []string{"../../secret", "/etc/passwd", "", ".", "a/b", `a\b`, "a\x00b"} {
		if _, err := run.OpenLog(step); err == nil {
			t.Errorf("no error for the step %q", step)
		}
	}
	if err := os.Symlink(secret, filepath.Join(runs, "r1", "logs", "link.log")); err != nil {
		t.Skip("this file system has no symbolic links:", err)
	}
	if _, err := run.OpenLog("link"); err == nil {
		t.Error("a link led out of the run's directory")
	}
}

func TestCloseWithoutEndLeavesTheRunForRecover(t *testing.T) {
	runs := t.TempDir()
	w := create(t, runs, "r1")
	add(t, w, runStarted("a"), started("a"))
	write(t, w, "a", "half")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Append(finished("a", journal.Passed)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("append after close: %v", err)
	}
	got, err := journal.Recover(runs, clock(), nothing)
	if err != nil {
		t.Fatal(err)
	}
	want := []journal.Recovered{{RunID: "r1", Dir: filepath.Join(runs, "r1"), Steps: []string{"a"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
