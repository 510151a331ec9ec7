package journal_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-ci/strata/internal/journal"
)

func TestNewRunID(t *testing.T) {
	at := time.Date(2026, 11, 25, 0, 5, 12, 0, time.FixedZone("", 3600))
	if got := journal.NewRunID(at, bytes.NewReader([]byte{0, 1, 2, 255})); got != "20261124-230512-00012z" {
		t.Errorf("the ID is %s", got)
	}
	if got := journal.NewRunID(at, bytes.NewReader(nil)); got != "20261124-230512-000000" {
		t.Errorf("without chance the ID is %s", got)
	}
	var ids []string
	for _, ms := range []int{0, 1, 31, 32, 999, 1000, 60_000} {
		ids = append(ids, journal.NewRunID(at.Add(time.Duration(ms)*time.Millisecond), bytes.NewReader([]byte{byte(-ms), 1, 2, 3})))
	}
	if !slices.IsSorted(ids) {
		t.Errorf("the IDs do not sort by time: %q", ids)
	}
}

func TestList(t *testing.T) {
	runs := t.TempDir()
	w := create(t, runs, "r1")
	add(t, w, runStarted("a", "b", "c"), started("a"), finished("a", journal.Failed),
		finished("b", journal.Skipped), finished("c", journal.Skipped))
	one := 1
	add(t, w, journal.Event{Type: journal.RunFinished, Status: journal.Failed, ExitCode: &one, DurationMS: 1500})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	live := create(t, runs, "r2")
	add(t, live, runStarted("a"), started("a"))
	create(t, runs, "r3") // has no event yet
	fake(t, runs, "r4", firstLine+"nonsense\n")
	if err := os.WriteFile(filepath.Join(runs, "r5"), nil, 0o600); err != nil { // not a run at all
		t.Fatal(err)
	}

	begin := clock()().UTC()
	base := journal.Summary{Pipeline: "ci", Project: "/src/app", Started: begin, ByStatus: map[journal.Status]int{}}
	r1, r2 := base, base
	r1.ID, r1.DurationMS, r1.Status, r1.ExitCode, r1.Steps = "r1", 1500, journal.Failed, &one, 3
	r1.ByStatus = map[journal.Status]int{journal.Failed: 1, journal.Skipped: 2}
	r2.ID, r2.DurationMS, r2.Live, r2.Steps = "r2", 1, true, 1

	got := summaries(t, runs)
	if len(got) != 3 || got[0].ID != "r4" || !strings.Contains(got[0].Damaged, "journal.ndjson:2") {
		t.Fatalf("the runs are %+v", got)
	}
	if diff := cmp.Diff([]journal.Summary{r2, r1}, got[1:]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// summaries are those of all runs, the newest first.
func summaries(t testing.TB, runs string) (list []journal.Summary) {
	t.Helper()
	dirs, err := journal.Dirs(runs)
	if err != nil {
		t.Error(err)
	}
	for _, dir := range slices.Backward(dirs) {
		if s, _, ok := journal.Summarize(dir); ok {
			list = append(list, s)
		}
	}
	return list
}

func TestNoRunsYet(t *testing.T) {
	if dirs, err := journal.Dirs(filepath.Join(t.TempDir(), "runs")); err != nil || len(dirs) > 0 {
		t.Errorf("%v, %v", dirs, err)
	}
}

func TestFold(t *testing.T) {
	w := create(t, t.TempDir(), "r1")
	add(t, w, sampleEvents()[:7]...)
	events, err := w.Run().Events()
	if err != nil {
		t.Fatal(err)
	}
	state := journal.Fold(events)
	if state.ID != "r1" || state.Jobs != 2 || state.Capture.Files != 3 || state.Status() != "" || !state.Last.Equal(events[6].Time) {
		t.Errorf("the run is %+v", state)
	}
	build := state.Step("build")
	if build.Status() != journal.Passed || build.End.Snapshot != "s1" || !build.Started.Equal(events[3].Time) || build.Notices[0] != "no memory limit" {
		t.Errorf("build is %+v", build)
	}
	if test := state.Step("test"); test.Status() != journal.Failed || test.Title() != "Unit tests" || *test.End.ExitCode != 7 {
		t.Errorf("test is %+v", test)
	}
	if lint := state.Step("lint"); lint.Running() || lint.Status() != "" {
		t.Errorf("lint is %+v", lint)
	}
	for _, e := range sampleEvents()[7:10] {
		state.Apply(e)
	}
	if state.Cancelling != "interrupted by the user" || state.Step("lint").End.Cause != "test" {
		t.Errorf("the run is %+v", state)
	}
	if state.Step("none") != nil {
		t.Error("there is a step that the run does not have")
	}
}

func TestFind(t *testing.T) {
	runs := t.TempDir()
	if _, err := journal.Find(runs, "latest"); err == nil || !strings.Contains(err.Error(), "there are no runs yet") {
		t.Errorf("without runs: %v", err)
	}
	for _, id := range []string{"20261124-230512-k3f9a2", "20261124-230513-a1b2c3", "20261125-000000-a1zzzz"} {
		pass(t, runs, id)
	}
	if err := os.Mkdir(filepath.Join(runs, "20261126-000000-nothing"), 0o700); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		"":                       "20261125-000000-a1zzzz",
		"latest":                 "20261125-000000-a1zzzz",
		"20261124-230513-a1b2c3": "20261124-230513-a1b2c3",
		"20261124-230512":        "20261124-230512-k3f9a2",
		"20261125":               "20261125-000000-a1zzzz",
		"k3":                     "20261124-230512-k3f9a2",
		"a1b":                    "20261124-230513-a1b2c3",
	} {
		run, err := journal.Find(runs, query)
		if err != nil {
			t.Errorf("%q: %v", query, err)
		} else if run.ID() != want {
			t.Errorf("%q is %s, not %s", query, run.ID(), want)
		}
	}
	for query, want := range map[string]string{
		"20261124":        `2 runs begin with "20261124": 20261124-230513-a1b2c3, 20261124-230512-k3f9a2; write more`,
		"a1":              `2 runs begin with "a1"`,
		"k3f9b":           `no run "k3f9b": did you mean 20261124-230512-k3f9a2?`,
		"20261124-230599": `did you mean 20261124-230513-a1b2c3?`,
		"../../etc":       `no run "../../etc"`,
	} {
		if _, err := journal.Find(runs, query); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", query, err)
		}
	}
}

func TestRemove(t *testing.T) {
	runs := t.TempDir()
	for _, id := range []string{"r1", "r3", "r5"} {
		pass(t, runs, id)
	}
	create(t, runs, "r2")                                                                   // lives
	die(t, create(t, runs, "r4"), "")                                                       // waits for Recover
	if err := os.MkdirAll(filepath.Join(runs, ".trash", "r0", "logs"), 0o700); err != nil { // an earlier Remove died
		t.Fatal(err)
	}
	got, err := journal.Remove(runs, []string{"r1", "r2", "r3", "r4", "r9"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"r1", "r3", "r9"}, got); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
	var left []string
	for _, dir := range []string{runs, filepath.Join(runs, ".trash")} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			left = append(left, e.Name())
		}
	}
	if diff := cmp.Diff([]string{".live", ".lock", ".trash", "r2", "r4", "r5"}, left); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

func TestRemoveEndsWhatADeadProcessBegan(t *testing.T) {
	runs := t.TempDir()
	rest := filepath.Join(runs, ".trash", "r0")
	if err := os.MkdirAll(filepath.Join(rest, "logs"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := journal.Remove(runs, nil); err != nil || len(got) != 0 {
		t.Errorf("removed %q, %v", got, err)
	}
	if _, err := os.Stat(rest); !os.IsNotExist(err) {
		t.Errorf("the rest is still there: %v", err)
	}
}

func TestRemoveNothingElse(t *testing.T) {
	home := t.TempDir()
	runs := filepath.Join(home, "runs")
	if got, err := journal.Remove(runs, []string{"r1"}); err != nil || len(got) != 1 {
		t.Errorf("where there are no runs: %q, %v", got, err)
	}
	if _, err := os.Stat(runs); err == nil {
		t.Error("the directory was made")
	}
	pass(t, runs, "r1")
	if err := os.Mkdir(filepath.Join(home, "other"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"../other", ".lock", ".live", ".", ""} {
		if got, err := journal.Remove(runs, []string{id}); err == nil || len(got) > 0 {
			t.Errorf("%q: removed %q, %v", id, got, err)
		}
	}
	if _, err := os.Stat(filepath.Join(home, "other")); err != nil {
		t.Error(err)
	}
}
