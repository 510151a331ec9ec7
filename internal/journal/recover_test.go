package journal_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-ci/strata/internal/journal"
)

// die leaves a run as a killed process does: a torn line, a marker, no lock.
func die(t *testing.T, w *journal.Writer, torn string) {
	t.Helper()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	appendTo(t, filepath.Join(w.Dir(), "journal.ndjson"), torn)
}

func TestRecover(t *testing.T) {
	runs := t.TempDir()
	w := create(t, runs, "r1")
	add(t, w, runStarted("a", "b", "c"), started("b"), started("a"))
	write(t, w, "a", "half a li")
	add(t, w, finished("b", journal.Passed))
	die(t, w, `{"type":"notice","seq":5,"step":"a","message":"`+strings.Repeat("longer than what is appended ", 100))

	for round := range 2 {
		recovered, err := journal.Recover(runs, clock(), nothing)
		if err != nil {
			t.Fatal(err)
		}
		if want := 1 - round; len(recovered) != want {
			t.Fatalf("%d runs were recovered instead of %d", len(recovered), want)
		}
	}
	readLines(t, w.Dir())
	run := open(t, w.Dir())
	events, err := run.Events()
	if err != nil {
		t.Fatal(err)
	}
	checkSeq(t, events)
	want := []string{
		"run_started", "step_started b", "step_started a", "step_finished b passed",
		"a: half a li", "step_finished a interrupted", "run_finished interrupted",
	}
	if diff := cmp.Diff(want, follow(t, run, journal.FollowOptions{}).entries); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	state := journal.Fold(events)
	if got := state.Step("c").Status(); got != "" {
		t.Errorf("a step that never started ended as %q", got)
	}
	if state.End.DurationMS <= 0 {
		t.Errorf("the run took %v ms", state.End.DurationMS)
	}
}

func TestRecoverLeavesAlone(t *testing.T) {
	runs := t.TempDir()
	pass(t, runs, "done")
	live := create(t, runs, "live")
	add(t, live, runStarted("a"), started("a"))
	pass(t, runs, "forgotten")
	mark(t, filepath.Join(runs, "forgotten")) // its process died between its last event and its last act
	before := map[string][]string{}
	for _, id := range []string{"done", "live", "forgotten"} {
		before[id] = readLines(t, filepath.Join(runs, id))
	}
	if got, err := journal.Recover(runs, clock(), nothing); err != nil || len(got) != 0 {
		t.Fatalf("recovered %v, %v", got, err)
	}
	for id, lines := range before {
		if diff := cmp.Diff(lines, readLines(t, filepath.Join(runs, id))); diff != "" {
			t.Errorf("%s has changed:\n%s", id, diff)
		}
	}
	if _, err := os.Stat(marker(filepath.Join(runs, "forgotten"))); !os.IsNotExist(err) {
		t.Errorf("the run will be looked at again each time: %v", err)
	}
	add(t, live, finished("a", journal.Passed), runFinished(journal.Passed))
}

func TestRecoverRemovesWhatNeverBegan(t *testing.T) {
	runs := t.TempDir()
	die(t, create(t, runs, "empty"), "")
	die(t, create(t, runs, "torn"), `{"type":"run_sta`)
	mark(t, filepath.Join(runs, "none")) // its process died before it made the directory
	if got, err := journal.Recover(runs, clock(), nothing); err != nil || len(got) != 0 {
		t.Fatalf("recovered %v, %v", got, err)
	}
	for _, id := range []string{"empty", "torn", ".live/empty", ".live/torn", ".live/none"} {
		if _, err := os.Stat(filepath.Join(runs, id)); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", id, err)
		}
	}
}

func TestRecoverGoesOnAfterADamagedRun(t *testing.T) {
	runs := t.TempDir()
	for _, id := range []string{"r1", "r2"} {
		w := create(t, runs, id)
		add(t, w, runStarted("a"), started("a"))
		die(t, w, map[string]string{"r1": "nonsense\n"}[id])
	}
	got, err := journal.Recover(runs, clock(), nothing)
	if err == nil || !strings.Contains(err.Error(), "r1/journal.ndjson:3: not an event") {
		t.Errorf("the error is %v", err)
	}
	if len(got) != 1 || got[0].RunID != "r2" {
		t.Errorf("recovered %v", got)
	}
	if _, err := journal.Recover(runs, clock(), nothing); err != nil {
		t.Errorf("the damage is reported a second time: %v", err)
	}
}

func TestRecoverWhereThereIsNothing(t *testing.T) {
	if got, err := journal.Recover(filepath.Join(t.TempDir(), "runs"), clock(), nothing); err != nil || len(got) != 0 {
		t.Errorf("recovered %v, %v", got, err)
	}
}

// TestRecoverBesideCreate has runs made, ended, read and recovered at once, as
// by many processes. No living run may be touched.
func TestRecoverBesideCreate(t *testing.T) {
	const makers, rounds = 3, 30
	runs := t.TempDir()
	var wg sync.WaitGroup
	for m := range makers {
		wg.Go(func() {
			for i := range rounds {
				id := fmt.Sprintf("m%d-%d", m, i)
				w, err := journal.Create(runs, id, clock())
				if err != nil {
					t.Error(err)
					return
				}
				for _, e := range []journal.Event{runStarted("a"), started("a"), finished("a", journal.Passed), runFinished(journal.Passed)} {
					if err := w.Append(e); err != nil {
						t.Error(err)
					}
				}
				if err := w.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	stop := make(chan struct{})
	var background sync.WaitGroup
	background.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if got, err := journal.Recover(runs, clock(), nothing); err != nil || len(got) > 0 {
				t.Errorf("recovered %v, %v", got, err)
			}
			summaries(t, runs)
		}
	})
	wg.Wait()
	close(stop)
	background.Wait()
	n := 0
	for _, s := range summaries(t, runs) {
		n++
		if s.Status != journal.Passed || s.Damaged != "" {
			t.Errorf("%+v", s)
		}
	}
	if n != makers*rounds {
		t.Errorf("%d runs of %d", n, makers*rounds)
	}
}

func TestTwoRecoverAtOnce(t *testing.T) {
	runs := t.TempDir()
	var ids []string
	for i := range 20 {
		w := create(t, runs, fmt.Sprintf("r%02d", i))
		add(t, w, runStarted("a"), started("a"))
		die(t, w, "{")
		ids = append(ids, w.RunID())
	}
	var mu sync.Mutex
	var got []string
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			recovered, err := journal.Recover(runs, clock(), nothing)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, r := range recovered {
				got = append(got, r.RunID)
			}
		})
	}
	wg.Wait()
	slices.Sort(got)
	if diff := cmp.Diff(ids, got); diff != "" {
		t.Errorf("each run is to be recovered once (-want +got):\n%s", diff)
	}
}

// nothing is all that these runs have left.
func nothing(journal.RunState) error { return nil }

// TestRecoverCleansUpFirst cleans up after a run before it is ended, and again if that
// fails, also where only the last act of a run is missing.
func TestRecoverCleansUpFirst(t *testing.T) {
	runs := t.TempDir()
	add(t, create(t, runs, "live"), runStarted("a"))
	w := create(t, runs, "r1")
	add(t, w, runStarted("a"), started("a"))
	die(t, w, "")
	pass(t, runs, "r2")
	mark(t, filepath.Join(runs, "r2"))

	broken := errors.New("not now")
	for round, failure := range []error{broken, nil, broken} {
		var asked []string
		_, err := journal.Recover(runs, clock(), func(s journal.RunState) error {
			asked = append(asked, s.ID)
			return failure
		})
		want := []string{"r1", "r2"}
		if round == 2 {
			want, failure = nil, nil
		}
		slices.Sort(asked)
		if !errors.Is(err, failure) || !slices.Equal(asked, want) {
			t.Fatalf("round %d: asked for %v, not %v: %v", round, asked, want, err)
		}
	}
}
