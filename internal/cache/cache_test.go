package cache_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/strata-ci/strata/internal/cache"
	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/internal/records"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// fixture is a cache, and a runner's snapshots as far as a cache can know.
type fixture struct {
	testing.TB
	*cache.Cache
	dir string
	now time.Time

	mu     sync.Mutex
	reaped map[runner.SnapshotRef]int
	fail   error // of the next reaping
}

func setup(t testing.TB) *fixture {
	t.Helper()
	return setupIn(t, t.TempDir())
}

func setupIn(t testing.TB, dir string) *fixture {
	t.Helper()
	f := &fixture{TB: t, dir: dir, now: time.Unix(1_800_000_000, 0), reaped: map[runner.SnapshotRef]int{}}
	db, err := records.Open(f.dir, records.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	f.Cache = cache.New(db, filepath.Join(f.dir, "cache"), func() time.Time { return f.now })
	return f
}

// ReapSnapshots makes the fixture a reaper.
func (f *fixture) ReapSnapshots(_ context.Context, refs []runner.SnapshotRef) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return f.fail
	}
	for _, ref := range refs {
		f.reaped[ref]++
	}
	return nil
}

func (f *fixture) reapers() map[string]runner.SnapshotReaper {
	return map[string]runner.SnapshotReaper{"r": f}
}

func key(name string) plan.Key { return sha256.Sum256([]byte(name)) }

// put adds a result whose snapshot consists of parts, each of 100 bytes.
func (f *fixture) put(name string, parts ...string) {
	f.Helper()
	if err := f.Put(f.Context(), []cache.Result{f.result(name, parts...)}); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) result(name string, parts ...string) cache.Result {
	list := []plan.Input{{Path: name, Mode: 0o100644, Digest: sha256.Sum256([]byte(name))}}
	r := cache.Result{
		Key: key(name), Step: plan.StepID{Project: "/p", Pipeline: "ci", Step: name}, Runner: "r",
		Ref: runner.SnapshotRef("run." + name), Run: "run", Duration: time.Second,
		Material: &plan.Material{Command: []string{"make", name}, Inputs: plan.DigestInputs(list)},
		Inputs:   func() []plan.Input { return list },
	}
	for _, p := range parts {
		r.Parts = append(r.Parts, runner.SnapshotPart{ID: p, Bytes: 100})
	}
	return r
}

func (f *fixture) has(name string) bool {
	f.Helper()
	e, err := f.Entry(f.Context(), key(name))
	if err != nil {
		f.Fatal(err)
	}
	return e != nil
}

func (f *fixture) collect(most pipeline.Bytes) cache.Report {
	f.Helper()
	r, err := f.Collect(f.Context(), limits(most), f.reapers(), plenty)
	if err != nil {
		f.Fatal(err)
	}
	return r
}

func limits(most pipeline.Bytes) cache.Limits {
	return cache.Limits{MaxBytes: most, Failures: cache.FailureLimits{Count: 2, Bytes: 1000, Age: time.Hour}}
}

func plenty() (int64, error) { return 1 << 50, nil }

func TestEntryHasWhatWasPut(t *testing.T) {
	f := setup(t)
	log := filepath.Join(f.dir, "step.log")
	if err := os.WriteFile(log, []byte("output\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := f.result("build", "a")
	r.Log = log
	if err := f.Put(t.Context(), []cache.Result{r}); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(log); err != nil { // with the journal of its run
		t.Fatal(err)
	}
	e, err := f.Entry(t.Context(), key("build"))
	if err != nil || e == nil || e.Ref != r.Ref || e.Duration != time.Second || e.Origin.Run != "run" || !e.Origin.Time.Equal(f.now) || e.LogBytes != 7 {
		t.Fatalf("%+v, %v", e, err)
	}
	earlier, err := f.Earlier(t.Context(), r.Step, 5)
	if err != nil || len(earlier) != 1 || earlier[0].Material.Command[1] != "build" {
		t.Fatalf("%+v, %v", earlier, err)
	}
	inputs, err := f.Inputs(t.Context(), earlier[0].Material.Inputs)
	if err != nil || len(inputs) != 1 || inputs[0] != r.Inputs()[0] {
		t.Fatalf("%+v, %v", inputs, err)
	}
	text, err := f.Cache.Log(t.Context(), key("build"))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(text)
	if err := errors.Join(err, text.Close()); err != nil || string(data) != "output\n" {
		t.Errorf("%q, %v", data, err)
	}
}

func TestDamagedLogIsSetAside(t *testing.T) {
	f := setup(t)
	log := filepath.Join(f.dir, "step.log")
	if err := os.WriteFile(log, []byte("output\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := f.result("build", "a")
	r.Log = log
	if err := f.Put(t.Context(), []cache.Result{r}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(log, []byte("outpXt\n"), 0o600); err != nil { // the same file by another name
		t.Fatal(err)
	}
	if _, err := f.Cache.Log(t.Context(), key("build")); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("the error is %v", err)
	}
	gone, err := f.Gone(t.Context(), key("build"))
	if err != nil || gone == nil || !strings.Contains(gone.Rule, "log was damaged") || f.has("build") {
		t.Errorf("%+v, %v", gone, err)
	}
}

func TestClaimIsHeldByOne(t *testing.T) {
	f := setup(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	holders, waited := 0, 0
	for range 20 {
		wg.Go(func() {
			claim, err := f.Claim(t.Context(), key("k"), func() { mu.Lock(); waited++; mu.Unlock() })
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			if holders++; holders != 1 {
				t.Errorf("%d hold the claim", holders)
			}
			mu.Unlock()
			mu.Lock()
			holders--
			mu.Unlock()
			if err := claim.Release(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	left, err := os.ReadDir(filepath.Join(f.dir, "cache", "locks"))
	if err != nil || len(left) > 0 {
		t.Errorf("locks are left: %v, %v", left, err)
	}
}

func TestClaimEndsWithItsContext(t *testing.T) {
	f := setup(t)
	claim, err := f.Claim(t.Context(), key("k"), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := f.Claim(ctx, key("k"), cancel); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	if err := claim.Release(); err != nil {
		t.Fatal(err)
	}
	if claim, err = f.Claim(t.Context(), key("k"), func() { t.Error("it waits for nobody") }); err != nil {
		t.Fatal(err)
	}
	if err := claim.Release(); err != nil {
		t.Fatal(err)
	}
}

func TestLeastRecentlyUsedGoFirst(t *testing.T) {
	f := setup(t)
	for i := range 5 {
		f.put(fmt.Sprint("s", i), fmt.Sprint("part", i))
	}
	if err := f.Use(t.Context(), []plan.Key{key("s0"), key("s1")}); err != nil {
		t.Fatal(err)
	}
	r := f.collect(300)
	if r.Removed != 2 || r.Freed != 200 || r.Used != 300 || f.has("s2") || f.has("s3") || !f.has("s0") {
		t.Errorf("%+v", r)
	}
	gone, err := f.Gone(t.Context(), key("s2"))
	if err != nil || gone == nil || !strings.Contains(gone.Rule, "max_bytes") {
		t.Errorf("%+v, %v", gone, err)
	}
	if f.reaped["run.s2"] != 1 || f.reaped["run.s0"] != 0 {
		t.Errorf("reaped: %v", f.reaped)
	}
}

func TestParentsGoAfterTheirChildren(t *testing.T) {
	f := setup(t)
	f.put("parent", "a")
	f.put("child", "a", "b")
	f.put("grandchild", "a", "b", "c")
	f.put("other", "d")
	if r := f.collect(300); r.Removed != 1 || f.has("grandchild") || !f.has("parent") {
		t.Errorf("%+v", r)
	}
	if r := f.collect(100); r.Removed != 2 || f.has("child") || f.has("parent") || !f.has("other") {
		t.Errorf("%+v: the child and then the parent are the least recently used", r)
	}
}

func TestPinnedStays(t *testing.T) {
	f := setup(t)
	f.put("parent", "a")
	f.put("child", "a", "b")
	f.put("other", "c")
	if err := f.Pin(t.Context(), key("child"), true); err != nil {
		t.Fatal(err)
	}
	if r := f.collect(0); r.Removed != 1 || !f.has("child") || !f.has("parent") {
		t.Errorf("%+v", r)
	}
	if err := f.Pin(t.Context(), key("child"), false); err != nil {
		t.Fatal(err)
	}
	if r := f.collect(0); r.Removed != 2 || r.Used != 0 {
		t.Errorf("%+v", r)
	}
}

func TestFreeSpaceAndWhatIsAlwaysKept(t *testing.T) {
	f := setup(t)
	for i := range 5 {
		f.put(fmt.Sprint("s", i), fmt.Sprint("part", i))
	}
	l := limits(1000)
	l.MinFreeBytes, l.KeepBytes = 1000, 200
	r, err := f.Collect(t.Context(), l, f.reapers(), func() (int64, error) { return 0, nil })
	if err != nil || r.Used != 200 || !f.has("s4") || !f.has("s3") {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestReplacedResultLeaves(t *testing.T) {
	f := setup(t)
	f.put("build", "a")
	again := f.result("build", "b")
	again.Ref = "run2.build"
	if err := f.Put(t.Context(), []cache.Result{again}); err != nil {
		t.Fatal(err)
	}
	if r := f.collect(1000); r.Removed != 0 || r.Used != 100 || f.reaped["run.build"] != 1 || f.reaped["run2.build"] != 0 {
		t.Errorf("%+v, reaped %v", r, f.reaped)
	}
}

func TestFailuresAreKeptByRule(t *testing.T) {
	f := setup(t)
	fail := func(name string) {
		t.Helper()
		err := f.KeepFailures(t.Context(), []cache.Failure{{
			Step: plan.StepID{Project: "/p", Pipeline: "ci", Step: name}, Runner: "r", Ref: runner.SnapshotRef("run." + name), Run: "run",
			Parts: []runner.SnapshotPart{{ID: "base", Bytes: 100}, {ID: name, Bytes: 100}},
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	f.put("parent", "base")
	for i := range 3 {
		fail(fmt.Sprint("f", i))
	}
	f.collect(1000)
	if len(f.reaped) != 1 || f.reaped["run.f0"] != 1 {
		t.Errorf("more than two are kept, or not the newest: %v", f.reaped)
	}
	f.now = f.now.Add(-5 * 365 * 24 * time.Hour) // the clock is set back
	f.collect(1000)
	if len(f.reaped) != 1 {
		t.Errorf("a clock that was set back removes failures: %v", f.reaped)
	}
	if r := f.collect(400); r.Used != 300 || r.Failures != 0 {
		t.Errorf("%+v: failures have half of the room", r)
	}
	f.now = f.now.Add(6 * 365 * 24 * time.Hour)
	if r := f.collect(1000); r.Used != 100 || len(f.reaped) != 3 {
		t.Errorf("%+v, reaped %v", r, f.reaped)
	}
}

func TestReapingGoesOnAfterAnError(t *testing.T) {
	f := setup(t)
	f.put("build", "a")
	f.fail = errors.New("the disk is broken")
	if _, err := f.Collect(t.Context(), limits(0), f.reapers(), plenty); !errors.Is(err, f.fail) {
		t.Fatalf("the error is %v", err)
	}
	if f.has("build") {
		t.Error("a result is still there whose snapshot may be half gone")
	}
	f.fail = nil
	if r := f.collect(0); r.Freed != 100 || f.reaped["run.build"] != 1 {
		t.Errorf("%+v, reaped %v", r, f.reaped)
	}
}

func TestUnnamed(t *testing.T) {
	f := setup(t)
	f.put("build", "a")
	refs, err := f.Unnamed(t.Context(), "r", []runner.SnapshotRef{"run.build", "run.test"})
	if err != nil || len(refs) != 1 || refs[0] != "run.test" {
		t.Errorf("%v, %v", refs, err)
	}
}

func TestPrune(t *testing.T) {
	f := setup(t)
	f.put("old", "a")
	f.now = f.now.Add(time.Hour)
	f.put("new", "b")
	f.put("pinned", "c")
	if err := f.Pin(t.Context(), key("pinned"), true); err != nil {
		t.Fatal(err)
	}
	prune := func(sel cache.Selection) int {
		t.Helper()
		r, err := f.Prune(t.Context(), sel, f.reapers())
		if err != nil {
			t.Fatal(err)
		}
		return r.Removed
	}
	if n := prune(cache.Selection{Unused: time.Minute}); n != 1 || f.has("old") {
		t.Errorf("%d removed", n)
	}
	if n := prune(cache.Selection{Steps: []string{"nobody"}}) + prune(cache.Selection{Project: "/other"}); n != 0 {
		t.Errorf("%d removed", n)
	}
	if n := prune(cache.Selection{}); n != 1 || f.has("new") || !f.has("pinned") {
		t.Errorf("%d removed", n)
	}
	u, err := f.Usage(t.Context())
	if err != nil || u.Total() != 100 || u.Pinned != 100 || u.Entries != 1 {
		t.Errorf("%+v, %v", u, err)
	}
}

func TestTidyRemovesWhatNobodyHas(t *testing.T) {
	f := setup(t)
	claim, err := f.Claim(t.Context(), key("held"), nil)
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(log, []byte("made\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := f.result("build", "a")
	r.Log = log
	if err := f.Put(t.Context(), []cache.Result{r}); err != nil {
		t.Fatal(err)
	}
	dead := []string{
		filepath.Join(f.dir, "cache", "locks", key("dead").String()),
		filepath.Join(f.dir, "cache", "logs", "r", "dead.build"),
	}
	for _, path := range append(dead, filepath.Join(f.dir, "cache", "logs", "r", "alive.build")) {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	removed, err := f.Tidy(t.Context(), func(ref runner.SnapshotRef) bool { return ref == "alive.build" })
	if err != nil || fmt.Sprint(removed) != fmt.Sprint(dead) {
		t.Errorf("removed %q, %v; want %q", removed, err, dead)
	}
	for _, path := range dead {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there", path)
		}
	}
	if err := claim.Release(); err != nil {
		t.Errorf("the held claim: %v", err)
	}
	if text, err := f.Cache.Log(t.Context(), key("build")); err != nil {
		t.Errorf("the log of the result: %v", err)
	} else {
		text.Close()
	}
}

func TestFailuresGiveWay(t *testing.T) {
	f := setup(t)
	f.put("parent", "base")
	for i := range 2 {
		name := fmt.Sprint("f", i)
		err := f.KeepFailures(t.Context(), []cache.Failure{{
			Step: plan.StepID{Project: "/p", Pipeline: "ci", Step: name}, Runner: "r", Ref: runner.SnapshotRef("run." + name), Run: "run",
			Parts: []runner.SnapshotPart{{ID: "base", Bytes: 100}, {ID: name, Bytes: 10}},
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	if r := f.collect(120); r.Used != 120 || r.Failures != 0 {
		t.Errorf("%+v: all of it has room", r)
	}
	if r := f.collect(115); r.Used != 110 || r.Failures != 1 || f.reaped["run.f0"] != 1 || !f.has("parent") {
		t.Errorf("%+v, reaped %v: the older failure goes, and what the newer one builds on stays", r, f.reaped)
	}
	if r := f.collect(105); r.Used != 100 || r.Failures != 1 || f.reaped["run.f1"] != 1 || !f.has("parent") {
		t.Errorf("%+v, reaped %v: the newer failure goes, and its parent is a result again", r, f.reaped)
	}
}

func TestForgottenFailureLeaves(t *testing.T) {
	f := setup(t)
	failure := cache.Failure{Step: plan.StepID{Project: "/p", Pipeline: "ci", Step: "test"}, Runner: "r", Ref: "run.test", Run: "run"}
	if err := f.KeepFailures(t.Context(), []cache.Failure{failure}); err != nil {
		t.Fatal(err)
	}
	list, err := f.Failures(t.Context())
	if err != nil || len(list) != 1 || list[0].Ref != failure.Ref || list[0].Step != failure.Step {
		t.Fatalf("%+v, %v", list, err)
	}
	if err := f.Forget(t.Context(), list[0]); err != nil {
		t.Fatal(err)
	}
	f.collect(1000)
	if list, err = f.Failures(t.Context()); err != nil || len(list) > 0 || f.reaped["run.test"] != 1 {
		t.Errorf("%+v, %v; reaped %v", list, err, f.reaped)
	}
}

func TestLogOfAResultThatIsNotWrittenDownIsRemoved(t *testing.T) {
	f := setup(t)
	log := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(log, []byte("made\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := f.result("build")
	r.Log = log
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Put(ctx, []cache.Result{r}); err == nil {
		t.Fatal("a result is written down in spite of the end of its context")
	}
	if left, err := os.ReadDir(filepath.Join(f.dir, "cache", "logs", "r")); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
}
