package engine_test

import (
	"testing"
	"time"

	"github.com/strata-ci/strata/internal/history"
	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/pipeline"
)

// A clock that jumps by years, back and ahead, makes results of unknown age run
// again, and no others; runs stay in the order in which they were.
func TestClockJumps(t *testing.T) {
	const years = 5 * 365 * 24 * time.Hour
	f := newShop(t)
	steps := []pipeline.Step{
		step("ttl", "1", cached(pipeline.CachePolicy{Kind: pipeline.CacheTTL, TTL: pipeline.Duration(time.Hour)})),
		step("forever", "2", forever),
	}
	f.want(journal.Passed, steps, "forever ttl")
	for _, ahead := range []time.Duration{-years, years, 0, -2 * years} {
		f.ahead = ahead
		f.want(journal.Passed, steps, "ttl")
		f.want(journal.Passed, steps, "")
	}
	runs, err := history.Open(f.records).List(t.Context(), "", 0)
	if err != nil || len(runs) != 9 {
		t.Fatalf("%d runs are known, want 9: %v", len(runs), err)
	}
	ids := map[string]bool{}
	for i, r := range runs {
		ids[r.ID] = true
		if i%2 == 0 && i+1 < len(runs) && r.Started.Sub(runs[i+1].Started).Abs() > years/2 {
			t.Errorf("the runs %s and %s, one after the other, are not in that order", runs[i+1].ID, r.ID)
		}
	}
	if len(ids) != len(runs) {
		t.Errorf("two of these runs have the same ID: %v", runs)
	}
}
