package cache_test

import (
	"fmt"
	"testing"

	"github.com/strata-ci/strata/internal/cache"
	"github.com/strata-ci/strata/pipeline"
)

// fillMany makes n results in chains of ten, each with 100 bytes of its own.
func (f *fixture) fillMany(n int) {
	f.Helper()
	var batch []cache.Result
	var parts []string
	for i := range n {
		if i%10 == 0 {
			parts = nil
		}
		parts = append(parts, fmt.Sprint("part", i))
		batch = append(batch, f.result(fmt.Sprint("s", i), parts...))
		if len(batch) == 1000 || i == n-1 {
			if err := f.Put(f.Context(), batch); err != nil {
				f.Fatal(err)
			}
			batch = nil
		}
	}
}

func TestCollectionOfMany(t *testing.T) {
	f := setup(t)
	const n = 1000
	f.fillMany(n)
	if r := f.collect(n * 100); r.Removed != 0 || r.Used != n*100 {
		t.Errorf("%+v", r)
	}
	if r := f.collect(n * 40); r.Removed != n*6/10 || r.Used != n*40 {
		t.Errorf("%+v", r)
	}
	// Of a chain that is needed in part only, what is nearest to the root stays.
	if !f.has(fmt.Sprint("s", n-10)) || f.has("s0") {
		t.Error("not the least recently used ones are gone")
	}
}

// BenchmarkExamine100000 is a collection that looks at 100,000 results of which
// none has to go.
func BenchmarkExamine100000(b *testing.B) {
	f := setup(b)
	f.fillMany(100_000)
	for b.Loop() {
		f.collect(1 << 40)
	}
}

// BenchmarkEvict10000 removes 10,000 of 100,000 results.
func BenchmarkEvict10000(b *testing.B) {
	f := setup(b)
	const n = 100_000
	f.fillMany(n)
	left := pipeline.Bytes(n)
	for b.Loop() {
		if left -= 10_000; left < 0 {
			b.Fatal("there are no results left: give -benchtime 5x")
		}
		f.collect(left * 100)
	}
}
