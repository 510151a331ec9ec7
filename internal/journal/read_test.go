package journal_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/strata-ci/strata/internal/journal"
)

const firstLine = `{"type":"run_started","seq":1,"time":"2026-11-24T23:05:12Z","run_id":"r1","version":1,"pipeline":"ci","steps":[{"name":"a","command":"x","runner":"host"}]}` + "\n"

// fake makes a run with a journal of the given text.
func fake(t testing.TB, runsDir, id, text string) string {
	t.Helper()
	dir := filepath.Join(runsDir, id)
	if err := os.MkdirAll(filepath.Join(dir, "logs"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "journal.ndjson"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestDamagedJournalsNameTheLine(t *testing.T) {
	second := func(s string) string { return firstLine + s + "\n" }
	tests := []struct {
		name, text, want string
	}{
		{"no JSON", second("nonsense"), "journal.ndjson:2: not an event"},
		{"another type of value", second(`[1]`), "journal.ndjson:2: not an event"},
		{"zeros", second(strings.Repeat("\x00", 100)), "journal.ndjson:2: not an event"},
		{"an empty line", second(""), "journal.ndjson:2: not an event"},
		{"a gap", second(`{"type":"notice","seq":3}`), "journal.ndjson:2: event 3 is where event 2 should be"},
		{"the same again", second(strings.TrimSpace(firstLine)), "journal.ndjson:2: event 1 is where event 2 should be"},
		{"no beginning", `{"type":"notice","seq":1}` + "\n", `journal.ndjson:1: the journal starts with "notice"`},
		{"no version", `{"type":"run_started","seq":1}` + "\n", "journal.ndjson:1: the journal has the version 0"},
		{"deep nesting", second(strings.Repeat("[", 1_000_000)), "journal.ndjson:2: not an event"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			run := open(t, fake(t, t.TempDir(), "r1", tt.text))
			if _, err := run.Events(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Events: %v", err)
			}
			var last error
			for _, err := range run.Follow(t.Context(), journal.FollowOptions{}) {
				last = err
			}
			if last == nil || !strings.Contains(last.Error(), tt.want) {
				t.Errorf("Follow: %v", last)
			}
		})
	}
}

func TestNewerVersionIsRefused(t *testing.T) {
	runs := t.TempDir()
	dir := fake(t, runs, "r1", strings.Replace(firstLine, `"version":1`, `"version":2`, 1))
	if _, err := open(t, dir).Events(); !errors.Is(err, journal.ErrNewerVersion) {
		t.Errorf("Events: %v", err)
	}
	mark(t, dir)
	if _, err := journal.Recover(runs, clock(), nothing); !errors.Is(err, journal.ErrNewerVersion) {
		t.Errorf("Recover: %v", err)
	}
	if _, err := os.Stat(marker(dir)); err != nil {
		t.Errorf("the newer Strata cannot recover the run any more: %v", err)
	}
}

func TestUnknownEventsAndFieldsPassThrough(t *testing.T) {
	text := firstLine +
		`{"type":"step_moved","seq":2,"step":"a","to":"mars"}` + "\n" +
		`{"type":"run_finished","seq":3,"status":"passed"}` + "\n"
	run := open(t, fake(t, t.TempDir(), "r1", text))
	got := follow(t, run, journal.FollowOptions{}).entries
	if len(got) != 3 || got[1] != "step_moved a" {
		t.Errorf("the events are %q", got)
	}
	events, err := run.Events()
	if err != nil {
		t.Fatal(err)
	}
	if state := journal.Fold(events); state.Status() != journal.Passed {
		t.Errorf("the run ended as %q", state.Status())
	}
}

func TestTornLastLineIsNoEvent(t *testing.T) {
	for _, torn := range []string{"{", `{"type":"run_finished","seq":2,"status":"passed"}`, "\x00\x00\x00"} {
		dir := fake(t, t.TempDir(), "r1", firstLine+torn)
		mark(t, dir)
		run := open(t, dir)
		events, err := run.Events()
		if err != nil || len(events) != 1 {
			t.Errorf("Events after %q: %d events, %v", torn, len(events), err)
		}
		if got := follow(t, run, journal.FollowOptions{}).entries; len(got) != 1 {
			t.Errorf("Follow after %q: %q", torn, got)
		}
	}
}

// TestCutJournal cuts the journal of a run that is over at every byte: what is
// left is read, and that the rest is lost is said.
func TestCutJournal(t *testing.T) {
	text := firstLine + `{"type":"notice","seq":2,"message":"x"}` + "\n" + `{"type":"run_finished","seq":3,"status":"passed"}` + "\n"
	for n := range len(text) {
		run := open(t, fake(t, t.TempDir(), "r1", text[:n]))
		events, err := run.Events()
		if whole := strings.Count(text[:n], "\n"); len(events) != whole {
			t.Errorf("cut at %d: %d events, want %d", n, len(events), whole)
		}
		if err == nil || !strings.Contains(err.Error(), "journal.ndjson is damaged: it ends before its run does") {
			t.Errorf("cut at %d: the error is %v", n, err)
		}
		var last error
		for _, last = range run.Follow(t.Context(), journal.FollowOptions{}) {
		}
		if last == nil || last.Error() != err.Error() {
			t.Errorf("cut at %d: Follow ends with %v", n, last)
		}
	}
}

func TestEndlessLineIsRefused(t *testing.T) {
	dir := fake(t, t.TempDir(), "r1", firstLine)
	if err := os.Truncate(journalPath(filepath.Dir(dir), "r1"), 65<<20); err != nil { // a hole of zeros
		t.Fatal(err)
	}
	if _, err := open(t, dir).Events(); err == nil || !strings.Contains(err.Error(), "journal.ndjson:2: the line is longer than") {
		t.Errorf("the error is %v", err)
	}
}

func TestLongLine(t *testing.T) {
	w := create(t, t.TempDir(), "r1")
	add(t, w, runStarted("a"))
	for _, n := range []int{64<<10 - 10, 64 << 10, 300 << 10, 5 << 20, 10} {
		add(t, w, journal.Event{Type: journal.Notice, Message: strings.Repeat("x", n)})
	}
	if err := w.Append(journal.Event{Type: journal.Notice, Message: strings.Repeat("x", 64<<20)}); err == nil {
		t.Error("no error for a line that no reader accepts")
	}
	add(t, w, runFinished(journal.Passed))
	events, err := w.Run().Events()
	if err != nil {
		t.Fatal(err)
	}
	checkSeq(t, events)
	if len(events) != 7 || len(events[4].Message) != 5<<20 {
		t.Errorf("%d events came back", len(events))
	}
}

func TestHostileStepInAJournal(t *testing.T) {
	runs := t.TempDir()
	if err := os.WriteFile(filepath.Join(runs, "secret.log"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := open(t, fake(t, runs, "r1", firstLine+`{"type":"step_started","seq":2,"step":"../../secret"}`+"\n"))
	var last error
	for item, err := range run.Follow(t.Context(), journal.FollowOptions{}) {
		if item.Output != nil {
			t.Errorf("%q was read", item.Output.Data)
		}
		last = err
	}
	if last == nil || !strings.Contains(last.Error(), "journal.ndjson:2") {
		t.Errorf("the error is %v", last)
	}
}

func TestOpenWhatIsNoRun(t *testing.T) {
	if _, err := journal.Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the error is %v", err)
	}
}

// FuzzJournal reads any bytes as a journal, in every way that there is.
func FuzzJournal(f *testing.F) {
	f.Add([]byte(firstLine + `{"type":"step_started","seq":2,"step":"a"}` + "\n" +
		`{"type":"step_finished","seq":3,"step":"a","status":"passed","log_bytes":9223372036854775807}` + "\n"))
	f.Add([]byte(firstLine + `{"type":"step_started","seq":2,"step":"../a"}` + "\n"))
	f.Add([]byte(firstLine + `{"type":"step_finished","seq":2,"step":"a","log_bytes":-1}` + "\n" + `{"type":"run_fin`))
	f.Add([]byte(firstLine + `{"type":"run_started","seq":2,"steps":null}` + "\n"))
	f.Add([]byte(strings.Replace(firstLine, `"version":1`, `"version":9`, 1)))
	f.Add([]byte("\n\x00\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		runs := t.TempDir()
		dir := fake(t, runs, "r1", string(data))
		if err := os.WriteFile(filepath.Join(dir, "logs", "a.log"), []byte("output"), 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		run := open(t, dir)
		items := 0
		for item, err := range run.Follow(ctx, journal.FollowOptions{}) {
			if errors.Is(err, context.DeadlineExceeded) {
				t.Fatal("a dead run was followed without an end")
			}
			if item.Event != nil {
				items++
			}
		}
		mark(t, dir)
		_, err := journal.Recover(runs, clock(), nothing)
		if err == nil && items > 0 {
			events, err := run.Events()
			if err != nil {
				t.Fatalf("a recovered journal cannot be read: %v", err)
			}
			if state := journal.Fold(events); state.End == nil {
				t.Fatal("a recovered run has no end")
			}
		}
		summaries(t, runs)
	})
}

// mark makes a run look as if its process had died.
func mark(t testing.TB, dir string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(marker(dir)), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(marker(dir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func marker(dir string) string { return filepath.Join(filepath.Dir(dir), ".live", filepath.Base(dir)) }
