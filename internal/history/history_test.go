package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/internal/records"
)

func openIndex(t testing.TB) *History {
	t.Helper()
	db, err := records.Open(t.TempDir(), records.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return Open(db)
}

// ran records a run of the pipeline ci of the project /p.
func ran(t *testing.T, h *History, id string, ends ...StepEnd) {
	t.Helper()
	s := journal.Summary{ID: id, Project: "/p", Pipeline: "ci", Started: time.Unix(1, 2), Steps: len(ends), Status: journal.Passed}
	if err := errors.Join(h.Started(t.Context(), s), h.Ended(t.Context(), s, ends)); err != nil {
		t.Fatal(err)
	}
}

func ids(list []journal.Summary) (ids []string) {
	for _, s := range list {
		ids = append(ids, s.ID)
	}
	return ids
}

// The order of runs is that of their beginnings, whatever the clock and the IDs say.
func TestListGivesTheNewestFirst(t *testing.T) {
	h := openIndex(t)
	one := 1
	want := journal.Summary{
		ID: "z", Project: "/p", Pipeline: "ci", Started: time.Unix(9, 5), Steps: 3, Status: journal.Failed, ExitCode: &one, DurationMS: 1500.5,
		ByStatus: map[journal.Status]int{journal.Failed: 1, journal.Skipped: 2},
	}
	if err := errors.Join(h.Started(t.Context(), want), h.Ended(t.Context(), want, nil)); err != nil {
		t.Fatal(err)
	}
	other := journal.Summary{ID: "other", Project: "/q", Pipeline: "ci", Started: time.Unix(3, 0)}
	if err := h.Started(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	ran(t, h, "a") // began last, with an ID from before

	for _, tt := range []struct {
		project string
		limit   int
		want    []string
	}{{"/p", 0, []string{"a", "z"}}, {"/p", 1, []string{"a"}}, {"", 2, []string{"a", "other"}}, {"/none", 0, nil}} {
		list, err := h.List(t.Context(), tt.project, tt.limit)
		if err != nil || !slices.Equal(ids(list), tt.want) {
			t.Errorf("%+v: %v, %v", tt, ids(list), err)
		}
	}
	list, err := h.List(t.Context(), "/p", 0)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, list[1]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEndsOfASecondTimeReplaceThoseOfTheFirst(t *testing.T) {
	h := openIndex(t)
	for range 2 {
		ran(t, h, "r", StepEnd{Step: "a", Status: journal.Passed, DurationMS: 7})
	}
	took, err := h.Durations(t.Context(), plan.StepID{Project: "/p", Pipeline: "ci", Step: "a"}, 10)
	if err != nil || len(took) != 1 || took[0] != 7*time.Millisecond {
		t.Errorf("the step took %v, %v", took, err)
	}
}

func TestLastEndIsOneThatTellsOfTheCommand(t *testing.T) {
	h := openIndex(t)
	id := plan.StepID{Project: "/p", Pipeline: "ci", Step: "a"}
	last := func() *plan.LastEnd {
		end, err := h.LastEnd(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return end
	}
	if end := last(); end != nil {
		t.Errorf("before anything ran it is %+v", end)
	}
	key := plan.Key{1, 2, 3}
	ran(t, h, "r1", StepEnd{Step: "a", Status: journal.Skipped})
	if end := last(); end != nil {
		t.Errorf("after it was skipped it is %+v", end)
	}
	ran(t, h, "r2", StepEnd{Step: "a", Status: journal.Failed, Key: key}, StepEnd{Step: "b", Status: journal.Passed})
	for i, s := range []journal.Status{journal.Skipped, journal.Cancelled, journal.InfraFailed, journal.Interrupted} {
		ran(t, h, fmt.Sprint("later", i), StepEnd{Step: "a", Status: s, Key: plan.Key{9}})
	}
	if diff := cmp.Diff(&plan.LastEnd{Run: "r2", Status: "failed", Key: key}, last()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDurationsAreThoseOfPassedRuns(t *testing.T) {
	h := openIndex(t)
	for i, s := range []journal.Status{journal.Passed, journal.Passed, journal.Failed, journal.Cached, journal.Passed} {
		ran(t, h, fmt.Sprint("r", i), StepEnd{Step: "a", Status: s, DurationMS: float64(i)})
	}
	took, err := h.Durations(t.Context(), plan.StepID{Project: "/p", Pipeline: "ci", Step: "a"}, 2)
	if err != nil || !slices.Equal(took, []time.Duration{4 * time.Millisecond, time.Millisecond}) {
		t.Errorf("the step took %v, %v", took, err)
	}
}

func TestLatestWithLooksAtAllPipelines(t *testing.T) {
	h := openIndex(t)
	for _, r := range []struct{ id, project, pipeline, step string }{
		{"r1", "/p", "z", "a"}, {"r2", "/p", "b", "a"}, {"r3", "/p", "z", "other"}, {"r4", "/q", "b", "a"},
	} {
		s := journal.Summary{ID: r.id, Project: r.project, Pipeline: r.pipeline, Status: journal.Passed}
		if err := h.Ended(t.Context(), s, []StepEnd{{Step: r.step, Status: journal.Cached}}); err != nil {
			t.Fatal(err)
		}
	}
	for step, want := range map[string]string{"a": "r2", "other": "r3", "none": ""} {
		if got, err := h.LatestWith(t.Context(), "/p", step); got != want || err != nil {
			t.Errorf("%s: the run is %q, %v, want %q", step, got, err, want)
		}
	}
	if got, err := h.LatestWith(t.Context(), "/none", "a"); got != "" || err != nil {
		t.Errorf("of no project the run is %q, %v", got, err)
	}
}

func TestPruneBoundsTheEndsOfSteps(t *testing.T) {
	h := openIndex(t)
	for i := range 6 {
		ran(t, h, fmt.Sprint("r", i), StepEnd{Step: "a", Status: journal.Passed}, StepEnd{Step: "b", Status: journal.Passed})
	}
	gone, err := h.prune(t.Context(), filepath.Join(t.TempDir(), "runs"), 100, 5)
	if err != nil || !slices.Equal(gone, []string{"r0", "r1", "r2", "r3"}) {
		t.Errorf("%q are gone, %v", gone, err)
	}
	if gone, err = h.prune(t.Context(), t.TempDir(), 100, 5); err != nil || len(gone) > 0 {
		t.Errorf("then %q are gone, %v", gone, err)
	}
}

func TestPruneKeepsTheNewestAndThoseThatRun(t *testing.T) {
	h := openIndex(t)
	runs := filepath.Join(t.TempDir(), "runs")
	prune := func() []string {
		gone, err := h.Prune(t.Context(), runs, 2)
		if err != nil {
			t.Fatal(err)
		}
		return gone
	}
	if gone := prune(); len(gone) > 0 {
		t.Errorf("of nothing %q are gone", gone)
	}
	ran(t, h, "r1", StepEnd{Step: "a", Status: journal.Passed})
	if err := h.Started(t.Context(), journal.Summary{ID: "runs", Project: "/p"}); err != nil {
		t.Fatal(err)
	}
	ran(t, h, "r2")
	ran(t, h, "marked") // ended by the records, but its process has not closed the journal
	ran(t, h, "r3")
	ran(t, h, "r4")
	for _, id := range []string{"r2", "marked", "r3"} { // r1 went when an earlier Prune died
		w, err := journal.Create(runs, id, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(
			w.Append(journal.Event{Type: journal.RunStarted}),
			w.Append(journal.Event{Type: journal.RunFinished, Status: journal.Passed}),
		)
		if err != nil {
			t.Fatal(err)
		}
		if id == "marked" {
			defer w.Close()
		} else if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if gone := prune(); !slices.Equal(gone, []string{"r1", "r2"}) {
		t.Errorf("gone are %q", gone)
	}
	list, err := h.List(t.Context(), "", 0)
	if err != nil || !slices.Equal(ids(list), []string{"r4", "r3", "marked", "runs"}) {
		t.Errorf("left are %v, %v", ids(list), err)
	}
	for id, want := range map[string]bool{"r2": false, "marked": true, "r3": true} {
		if _, err := os.Stat(filepath.Join(runs, id)); (err == nil) != want {
			t.Errorf("the journal of %s: %v", id, err)
		}
	}
	if end, err := h.LastEnd(t.Context(), plan.StepID{Project: "/p", Pipeline: "ci", Step: "a"}); end != nil || err != nil {
		t.Errorf("an end of a run that is gone is left: %+v, %v", end, err)
	}
}

// writeRuns writes the journals of runs that have failed.
func writeRuns(t *testing.T, runs string, key plan.Key, ids ...string) {
	t.Helper()
	code := 1
	for _, id := range ids {
		w, err := journal.Create(runs, id, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range []journal.Event{
			{Type: journal.RunStarted, Project: "/p", Pipeline: "ci", Steps: []journal.Step{{Name: "a"}}},
			{Type: journal.PlanMade, Decisions: []journal.Decision{{Step: "a", Key: key.String()}}},
			{Type: journal.StepStarted, Step: "a"},
			{Type: journal.StepFinished, Step: "a", Status: journal.Failed, DurationMS: 4},
			{Type: journal.RunFinished, Status: journal.Failed, ExitCode: &code, DurationMS: 5},
		} {
			if err := w.Append(e); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestImportMakesALostIndexAgain(t *testing.T) {
	runs := filepath.Join(t.TempDir(), "runs")
	key := plan.Key{7}
	writeRuns(t, runs, key, "r1", "r2")
	if err := os.MkdirAll(filepath.Join(runs, "r0", "logs"), 0o700); err != nil { // no run
		t.Fatal(err)
	}
	h := openIndex(t)
	for range 2 {
		if err := h.Import(t.Context(), runs); err != nil {
			t.Fatal(err)
		}
		list, err := h.List(t.Context(), "/p", 0)
		if err != nil || !slices.Equal(ids(list), []string{"r2", "r1"}) || *list[0].ExitCode != 1 || list[0].ByStatus[journal.Failed] != 1 {
			t.Errorf("the runs are %+v, %v", list, err)
		}
	}
	end, err := h.LastEnd(t.Context(), plan.StepID{Project: "/p", Pipeline: "ci", Step: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&plan.LastEnd{Run: "r2", Status: "failed", Key: key}, end); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestQuestionsCostTheSameWithManyRuns looks at SQLite's plans: nothing reads a
// whole table or sorts.
func TestQuestionsCostTheSameWithManyRuns(t *testing.T) {
	h := openIndex(t)
	for name, query := range map[string]string{
		"openRuns": openRuns, "listAll": listAll, "listOne": listOne, "latestWith": latestWith, "lastEnd": lastEnd,
		"durations": durations, "oldRuns": oldRuns, "forgetRun": forgetRun, "forgetEnds": forgetEnds,
	} {
		for _, line := range queryPlan(t, h, query) {
			allowed := name == "listAll" && line == "SCAN runs" || // by rowid, to its LIMIT
				name == "openRuns" && strings.Contains(line, "INDEX runs_open") // which has nothing else
			if strings.Contains(line, "TEMP B-TREE") || strings.HasPrefix(line, "SCAN") && !allowed && line != "SCAN CONSTANT ROW" {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
	if lines := queryPlan(t, h, durations); !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "step_ends_passed") }) {
		t.Errorf("cached runs are looked at for durations: %q", lines)
	}
}

func queryPlan(t *testing.T, h *History, query string) (lines []string) {
	t.Helper()
	args := make([]any, strings.Count(query, "?"))
	err := h.db.View(t.Context(), func(tx *sql.Tx) error {
		rows, err := tx.Query("EXPLAIN QUERY PLAN "+query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id, parent, unused int
			var line string
			if err := rows.Scan(&id, &parent, &unused, &line); err != nil {
				return err
			}
			lines = append(lines, line)
		}
		return rows.Err()
	})
	if err != nil || len(lines) == 0 {
		t.Fatalf("the plan of %s is %q, %v", query, lines, err)
	}
	return lines
}

// BenchmarkManyRuns asks what commands and runs ask, of 10,000 runs.
func BenchmarkManyRuns(b *testing.B) {
	h := openIndex(b)
	ctx := context.Background()
	const runs, steps = 10_000, 20
	err := h.db.Update(ctx, func(tx *sql.Tx) error {
		for i := range runs {
			ends := make([]StepEnd, steps)
			for s := range ends {
				ends[s] = StepEnd{Step: fmt.Sprint("step", s), Status: journal.Cached, Key: plan.Key{1}}
			}
			s := journal.Summary{ID: fmt.Sprintf("20261124-230512-%06d", i), Project: "/home/user/src/project", Pipeline: "ci", Status: journal.Passed}
			if err := ended(ctx, tx, s, ends); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	id := plan.StepID{Project: "/home/user/src/project", Pipeline: "ci", Step: "step7"}
	for name, ask := range map[string]func() error{
		"List":       func() error { _, err := h.List(ctx, id.Project, 20); return err },
		"LatestWith": func() error { _, err := h.LatestWith(ctx, id.Project, id.Step); return err },
		"LastEnd":    func() error { _, err := h.LastEnd(ctx, id); return err },
		"Durations":  func() error { _, err := h.Durations(ctx, id, 5); return err },
		"Settle":     func() error { _, err := h.Settle(ctx, b.TempDir()); return err },
		"Prune":      func() error { _, err := h.Prune(ctx, b.TempDir(), runs); return err },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := ask(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestAdopt has runs that another version made, which knows of no index.
func TestAdopt(t *testing.T) {
	runs := filepath.Join(t.TempDir(), "runs")
	h := openIndex(t)
	ran(t, h, "r1", StepEnd{Step: "a", Status: journal.Passed})
	writeRuns(t, runs, plan.Key{7}, "r1", "r2", "r3")
	live, err := journal.Create(runs, "r4", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	for _, want := range [][]string{{"r2", "r3"}, nil} {
		got, err := h.Adopt(t.Context(), runs)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("adopted are %v, %v, want %v", got, err, want)
		}
	}
	list, err := h.List(t.Context(), "", 0)
	if err != nil || !slices.Equal(ids(list), []string{"r3", "r2", "r1"}) || list[2].Status != journal.Passed {
		t.Errorf("the runs are %+v, %v", list, err)
	}
}
