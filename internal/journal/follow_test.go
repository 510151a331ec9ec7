package journal_test

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-ci/strata/internal/journal"
)

func TestFollowFinishedRun(t *testing.T) {
	runs := t.TempDir()
	w := create(t, runs, "r1")
	add(t, w, runStarted("a", "b", "c"), started("a"), started("b"))
	write(t, w, "a", "a1\n")
	write(t, w, "b", "b1\n")
	write(t, w, "a", "a2 without an end")
	add(t, w, finished("b", journal.Passed), finished("a", journal.Failed), finished("c", journal.Skipped), runFinished(journal.Failed))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}

	want := []string{
		"run_started", "step_started a", "step_started b",
		"b: b1\n", "step_finished b passed",
		"a: a1\na2 without an end", "step_finished a failed",
		"step_finished c skipped", "run_finished failed",
	}
	for name, run := range map[string]*journal.Run{"own process": w.Run(), "from files": open(t, filepath.Join(runs, "r1"))} {
		if diff := cmp.Diff(want, follow(t, run, journal.FollowOptions{}).entries); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
