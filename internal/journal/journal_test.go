package journal_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/strata-ci/strata/internal/journal"
)

func TestMain(m *testing.M) {
	if os.Getenv(crashEnv) != "" {
		writeUntilKilled(os.Getenv(crashEnv))
		return
	}
	goleak.VerifyTestMain(m)
}

// clock returns a clock that goes on by a millisecond with each reading.
func clock() func() time.Time {
	t := time.Date(2026, 11, 24, 23, 5, 12, 0, time.FixedZone("", 3600))
	return func() time.Time {
		t = t.Add(time.Millisecond)
		return t
	}
}

func create(t *testing.T, runsDir, id string) *journal.Writer {
	t.Helper()
	w, err := journal.Create(runsDir, id, clock())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func add(t *testing.T, w *journal.Writer, events ...journal.Event) {
	t.Helper()
	for _, e := range events {
		if err := w.Append(e); err != nil {
			t.Fatal(err)
		}
	}
}

func write(t *testing.T, w *journal.Writer, step, output string) {
	t.Helper()
	log, err := w.Log(step)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Write([]byte(output)); err != nil {
		t.Fatal(err)
	}
}

func runStarted(steps ...string) journal.Event {
	e := journal.Event{Type: journal.RunStarted, Pipeline: "ci", Project: "/src/app", Jobs: 2}
	for _, s := range steps {
		e.Steps = append(e.Steps, journal.Step{Name: s, Command: "make " + s, Runner: "host"})
	}
	return e
}

func started(step string) journal.Event {
	return journal.Event{Type: journal.StepStarted, Step: step, Runner: "host"}
}

func finished(step string, status journal.Status) journal.Event {
	return journal.Event{Type: journal.StepFinished, Step: step, Status: status}
}

func runFinished(status journal.Status) journal.Event {
	code := 0
	if status != journal.Passed {
		code = 1
	}
	return journal.Event{Type: journal.RunFinished, Status: status, ExitCode: &code}
}

// transcript is what a reader got, in a form that is easy to compare: pieces of
// output that follow each other are joined.
type transcript struct {
	entries []string
	output  map[string]*bytes.Buffer
	last    string // the step whose output came last
}

func (tr *transcript) add(item journal.Item) {
	if tr.output == nil {
		tr.output = make(map[string]*bytes.Buffer)
	}
	if o := item.Output; o != nil {
		if tr.output[o.Step] == nil {
			tr.output[o.Step] = new(bytes.Buffer)
		}
		tr.output[o.Step].Write(o.Data)
		if tr.last == o.Step {
			tr.entries[len(tr.entries)-1] += string(o.Data)
		} else {
			tr.entries = append(tr.entries, o.Step+": "+string(o.Data))
		}
		tr.last = o.Step
		return
	}
	e := item.Event
	entry := string(e.Type)
	if e.Step != "" {
		entry += " " + e.Step
	}
	if e.Status != "" {
		entry += " " + string(e.Status)
	}
	tr.entries = append(tr.entries, entry)
	tr.last = ""
}

// follow reads a run to its end.
func follow(t *testing.T, run *journal.Run, opts journal.FollowOptions) *transcript {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tr := new(transcript)
	for item, err := range run.Follow(ctx, opts) {
		if err != nil {
			t.Fatalf("after %q: %v", tr.entries, err)
		}
		tr.add(item)
	}
	return tr
}

func open(t *testing.T, dir string) *journal.Run {
	t.Helper()
	run, err := journal.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// pass writes a whole run with one passing step.
func pass(t *testing.T, runsDir, id string) {
	t.Helper()
	w := create(t, runsDir, id)
	add(t, w, runStarted("build"), started("build"))
	write(t, w, "build", "out of "+id+"\n")
	add(t, w, finished("build", journal.Passed), runFinished(journal.Passed))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func journalPath(runsDir, id string) string {
	return filepath.Join(runsDir, id, "journal.ndjson")
}

func checkSeq(t *testing.T, events []journal.Event) {
	t.Helper()
	for i, e := range events {
		if e.Seq != uint64(i+1) {
			t.Fatal(fmt.Errorf("event %d has the number %d", i+1, e.Seq))
		}
	}
}
