package cache_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/strata-ci/strata/internal/cache"
	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// known is what the model remembers of a result or a failure.
type known struct {
	parts  []string
	pinned bool
}

// model is what a cache has to hold.
type model struct {
	f        *fixture
	results  map[string]*known
	failures []string // the oldest first
	failed   map[string]*known
	bytes    map[string]pipeline.Bytes
	ever     map[runner.SnapshotRef]bool // all that was kept
	made     int
}

func (m *model) snapshot(t *rapid.T) (name string, k *known) {
	m.made++
	k = &known{}
	if names := slices.Sorted(maps.Keys(m.results)); len(names) > 0 && rapid.Bool().Draw(t, "builds in another") {
		k.parts = slices.Clone(m.results[rapid.SampledFrom(names).Draw(t, "parent")].parts)
	}
	if rapid.IntRange(0, 3).Draw(t, "changes something") > 0 {
		part := fmt.Sprint("part", m.made)
		m.bytes[part] = pipeline.Bytes(rapid.IntRange(0, 1000).Draw(t, "bytes"))
		k.parts = append(k.parts, part)
	}
	return fmt.Sprint("s", m.made), k
}

func (m *model) parts(k *known) (parts []runner.SnapshotPart) {
	for _, id := range k.parts {
		parts = append(parts, runner.SnapshotPart{ID: id, Bytes: m.bytes[id]})
	}
	return parts
}

// used is what all that is there holds.
func (m *model) used() (total pipeline.Bytes) {
	held := map[string]bool{}
	for _, all := range []map[string]*known{m.results, m.failed} {
		for _, k := range all {
			for _, p := range k.parts {
				held[p] = true
			}
		}
	}
	for p := range held {
		total += m.bytes[p]
	}
	return total
}

// needed reports whether a result has to stay: it is pinned, or what is pinned
// or kept of a failure holds all that it does and more.
func (m *model) needed(k *known) bool {
	if k.pinned {
		return true
	}
	if len(k.parts) == 0 {
		return true // that it went would free nothing
	}
	builds := func(o *known) bool {
		return len(o.parts) > len(k.parts) && !slices.ContainsFunc(k.parts, func(p string) bool { return !slices.Contains(o.parts, p) })
	}
	for _, o := range m.results {
		if o != k && builds(o) && m.needed(o) {
			return true
		}
	}
	for _, o := range m.failed {
		if builds(o) {
			return true
		}
	}
	return false
}

func (m *model) collect(t *rapid.T) {
	before := m.used()
	limit := pipeline.Bytes(rapid.IntRange(0, int(before)+1).Draw(t, "limit"))
	most := rapid.IntRange(0, 3).Draw(t, "failures")
	report, err := m.f.Collect(context.Background(), cache.Limits{
		MaxBytes: limit, Failures: cache.FailureLimits{Count: most, Bytes: 1 << 40, Age: time.Hour},
	}, m.f.reapers(), plenty)
	if err != nil {
		t.Fatal(err)
	}
	exceeded := m.forget(t, most, limit)
	for name, k := range m.results {
		if m.f.has(name) {
			continue
		}
		if m.needed(k) {
			t.Fatalf("%s is gone, which has to stay", name)
		}
		if !exceeded {
			t.Fatalf("%s is gone, and nothing exceeded the limit", name)
		}
	}
	maps.DeleteFunc(m.results, func(name string, _ *known) bool { return !m.f.has(name) })
	if report.Used != m.used() {
		t.Fatalf("%v are used, the report says %v", m.used(), report.Used)
	}
	if m.used() > limit {
		for name, k := range m.results {
			if !m.needed(k) && len(k.parts) > 0 {
				t.Fatalf("%v are used, more than %v, and %s could go", m.used(), limit, name)
			}
		}
		if len(m.failures) > 0 {
			t.Fatalf("%v are used, more than %v, and failures could go", m.used(), limit)
		}
	}
	m.reaped(t)
}

// onlyFailed is what failures hold and no result does.
func (m *model) onlyFailed() (total pipeline.Bytes) {
	failed := m.failed
	all := m.used()
	m.failed = nil
	total = all - m.used()
	m.failed = failed
	return total
}

// forget takes out the failures that are not kept any more: those beyond the
// newest, and more only where the rest exceeds its limits. It reports whether
// all that is left by then exceeds the limit of all.
func (m *model) forget(t *rapid.T, most int, limit pipeline.Bytes) (exceeded bool) {
	list, err := m.f.Failures(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, l := range list {
		there[l.Step.Step] = true
	}
	all := maps.Clone(m.failed)
	newest := m.failures[max(0, len(m.failures)-most):]
	maps.DeleteFunc(m.failed, func(name string, _ *known) bool { return !slices.Contains(newest, name) })
	exceeded = m.used() > limit
	if !exceeded && m.onlyFailed() <= limit/2 {
		if len(there) != len(m.failed) {
			t.Fatalf("%v are kept of the failures, want %v", there, newest)
		}
	}
	if len(there) > most {
		t.Fatalf("%d failures are kept, more than %d", len(there), most)
	}
	m.failed = all
	maps.DeleteFunc(m.failed, func(name string, _ *known) bool { return !there[name] })
	m.failures = slices.DeleteFunc(m.failures, func(name string) bool { return !there[name] })
	return exceeded
}

// reaped checks that exactly what is gone was reaped, once.
func (m *model) reaped(t *rapid.T) {
	for ref := range m.ever {
		name := string(ref)[len("run."):]
		there := m.results[name] != nil || m.failed[name] != nil
		if n := m.f.reaped[ref]; there && n != 0 || !there && n != 1 {
			t.Fatalf("%s (there: %v) was reaped %d times", ref, there, n)
		}
	}
}

func TestCollectionAgainstAModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := setup(t)
		m := &model{
			f: f, results: map[string]*known{}, failed: map[string]*known{},
			bytes: map[string]pipeline.Bytes{}, ever: map[runner.SnapshotRef]bool{},
		}
		one := func(t *rapid.T) (string, *known) {
			names := slices.Sorted(maps.Keys(m.results))
			if len(names) == 0 {
				t.Skip("there are no results")
			}
			name := rapid.SampledFrom(names).Draw(t, "result")
			return name, m.results[name]
		}
		must := func(t *rapid.T, err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				name, k := m.snapshot(t)
				r := f.result(name)
				r.Parts = m.parts(k)
				must(t, f.Put(context.Background(), []cache.Result{r}))
				m.results[name], m.ever[r.Ref] = k, true
			},
			"fail": func(t *rapid.T) {
				name, k := m.snapshot(t)
				ref := runner.SnapshotRef("run." + name)
				must(t, f.KeepFailures(context.Background(), []cache.Failure{{
					Step: plan.StepID{Project: "/p", Pipeline: "ci", Step: name}, Runner: "r", Ref: ref, Run: "run", Parts: m.parts(k),
				}}))
				m.failed[name], m.ever[ref] = k, true
				m.failures = append(m.failures, name)
			},
			"use": func(t *rapid.T) {
				name, _ := one(t)
				must(t, f.Use(context.Background(), []plan.Key{key(name)}))
			},
			"pin": func(t *rapid.T) {
				name, k := one(t)
				k.pinned = rapid.Bool().Draw(t, "pinned")
				must(t, f.Pin(context.Background(), key(name), k.pinned))
			},
			"collect": m.collect,
		})
	})
}
