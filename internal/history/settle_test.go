package history_test

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/strata-ci/strata/internal/history"
	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/internal/records"
)

// A run that was noted as started is settled once its process is gone, by its
// journal, and one without a journal is forgotten.
func TestSettle(t *testing.T) {
	dir := t.TempDir()
	db, err := records.Open(dir, records.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	h := history.Open(db)
	runs := dir + "/runs"
	w := begin(t, runs)
	for _, id := range []string{w.RunID(), "20261125-000000-lost00"} {
		if err := h.Started(t.Context(), journal.Summary{ID: id, Pipeline: "ci", Project: "/p", Started: time.Now(), Steps: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := h.Settle(t.Context(), runs); err != nil || n != 1 {
		t.Fatalf("settled %d runs, %v; one lives, the other has no journal", n, err)
	}
	if err := w.Close(); err != nil { // without an end, as a killed process leaves it
		t.Fatal(err)
	}
	if _, err := journal.Recover(runs, time.Now, func(journal.RunState) error { return nil }); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := h.Settle(t.Context(), runs); err != nil {
			t.Fatal(err)
		}
	}
	list, err := h.List(t.Context(), "", 0)
	if err != nil || len(list) != 1 || list[0].ID != w.RunID() || list[0].Status != journal.Interrupted {
		t.Errorf("%+v, %v", list, err)
	}
}

func begin(t *testing.T, runs string) *journal.Writer {
	t.Helper()
	w, err := journal.Create(runs, journal.NewRunID(time.Now(), rand.Reader), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []journal.Event{
		{Type: journal.RunStarted, Pipeline: "ci", Project: "/p", Jobs: 1, Steps: []journal.Step{{Name: "build", Command: "make", Runner: "host"}}},
		{Type: journal.StepStarted, Step: "build", Runner: "host"},
	} {
		if err := w.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// A run whose journal is damaged stays as it is, and is not settled at every start.
func TestSettleLeavesDamagedRuns(t *testing.T) {
	dir := t.TempDir()
	db, err := records.Open(dir, records.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	h := history.Open(db)
	runs := filepath.Join(dir, "runs")
	w := begin(t, runs)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(w.Dir(), "journal.ndjson")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, append(text, "nonsense\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.Import(t.Context(), runs); err != nil {
		t.Fatal(err)
	}
	if _, err := journal.Recover(runs, time.Now, func(journal.RunState) error { return nil }); err == nil {
		t.Error("the damage is not told")
	}
	if n, err := h.Settle(t.Context(), runs); err != nil || n != 0 {
		t.Errorf("settled %d runs, %v", n, err)
	}
	list, err := h.List(t.Context(), "", 0)
	if err != nil || len(list) != 1 || list[0].Status != "" {
		t.Errorf("%+v, %v", list, err)
	}
}
