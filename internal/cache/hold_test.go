package cache_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/strata-ci/strata/internal/cache"
	"github.com/strata-ci/strata/internal/filelock"
	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/internal/records"
	"github.com/strata-ci/strata/runner"
)

func TestHeldResultsStay(t *testing.T) {
	f := setup(t)
	f.put("parent", "a")
	f.put("child", "a", "b")
	f.put("other", "c")
	hold, err := f.Hold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	child, err := f.Entry(t.Context(), key("child"))
	if err != nil {
		t.Fatal(err)
	}
	replaced := *child
	replaced.Ref = "run0.child"
	gone, err := f.Take(t.Context(), []*plan.Entry{child, {Key: key("never made"), Ref: "run.never"}, &replaced})
	if err != nil || !slices.Equal(gone, []plan.Key{key("never made"), key("child")}) {
		t.Errorf("gone are %v, %v", gone, err)
	}
	f.put("new", "d")
	if r := f.collect(0); r.Removed != 1 || f.has("other") || !f.has("parent") || !f.has("child") || !f.has("new") {
		t.Errorf("%+v", r)
	}
	second, err := f.Hold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := hold.Release(); err != nil {
		t.Fatal(err)
	}
	if r := f.collect(0); r.Removed != 3 {
		t.Errorf("%+v: the second holder began when all were there, and uses none", r)
	}
	if err := second.Release(); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(filepath.Join(f.dir, "cache", "locks"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestHoldOfADeadProcessHoldsNothing(t *testing.T) {
	f := setup(t)
	f.put("build", "a")
	locks := filepath.Join(f.dir, "cache", "locks")
	if err := os.MkdirAll(locks, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"run-0-123", "run-", "run-x-y"} {
		if err := os.WriteFile(filepath.Join(locks, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if r := f.collect(0); r.Removed != 1 {
		t.Errorf("%+v", r)
	}
}

func TestFreeSpaceNeverTakesWhatIsAlwaysKept(t *testing.T) {
	f := setup(t)
	f.put("large", "a", "b", "c")
	f.put("small", "d")
	l := limits(1000)
	l.MinFreeBytes, l.KeepBytes = 1000, 250
	r, err := f.Collect(t.Context(), l, f.reapers(), func() (int64, error) { return 0, nil })
	if err != nil || r.Used != 300 || !f.has("large") || f.has("small") {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestFailuresShareWhatTheyHold(t *testing.T) {
	f := setup(t)
	for _, name := range []string{"f1", "f2"} {
		err := f.KeepFailures(t.Context(), []cache.Failure{{
			Runner: "r", Ref: runner.SnapshotRef("run." + name), Run: "run",
			Parts: []runner.SnapshotPart{{ID: "base", Bytes: 800}, {ID: name, Bytes: 100}},
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	if r := f.collect(10_000); r.Failures != 0 || r.Used != 1000 { // which is just what failures may have
		t.Errorf("%+v", r)
	}
}

func TestOneCollectsAtATime(t *testing.T) {
	f := setup(t)
	f.put("build", "a")
	lock, err := filelock.Open(filepath.Join(f.dir, "cache", "collect.lock"), filelock.Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	if r := f.collect(0); !r.Busy || r.Removed != 0 || !f.has("build") {
		t.Errorf("%+v", r)
	}
	done := make(chan cache.Report)
	go func() {
		r, err := f.Prune(t.Context(), cache.Selection{}, f.reapers())
		if err != nil {
			t.Error(err)
		}
		done <- r
	}()
	lock.Close()
	if r := <-done; r.Busy || r.Removed != 1 {
		t.Errorf("%+v", r)
	}
}

// TestDamagedRowsAreNoDanger is about rows that Strata never writes.
func TestDamagedRowsAreNoDanger(t *testing.T) {
	f := setup(t)
	f.put("build", "a")
	db, err := records.Open(f.dir, records.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	precious := filepath.Join(f.dir, "precious")
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	damage := func(query string, args ...any) {
		t.Helper()
		if _, err := db.Exec(query, args...); err != nil {
			t.Fatal(err)
		}
	}
	k := key("build")
	damage(`UPDATE entries SET ref = '../../../precious', material = x'00'`)
	damage(`UPDATE holds SET ref = '../../../precious'`)
	if f.has("build") {
		t.Error("a result is used whose snapshot has a name that none can have")
	}
	if earlier, err := f.Earlier(t.Context(), plan.StepID{Project: "/p", Pipeline: "ci", Step: "build"}, 5); err != nil || len(earlier) > 0 {
		t.Errorf("%+v, %v", earlier, err)
	}
	damage(`UPDATE entries SET key = x'0102' WHERE key = ?`, k[:])
	if list, err := f.List(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	if r := f.collect(0); r.Removed != 1 || r.Used != 0 {
		t.Errorf("%+v", r)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
	for ref, n := range f.reaped {
		t.Errorf("%q was reaped %d times", ref, n)
	}
}

func TestResultsThatHoldNothingStay(t *testing.T) {
	f := setup(t)
	for i := range 3 {
		f.put(fmt.Sprint("s", i))
	}
	if r := f.collect(0); r.Removed != 0 {
		t.Errorf("%+v: that they go frees nothing", r)
	}
}
