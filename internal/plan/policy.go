package plan

import (
	"time"

	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// futureSlack is how far in the future an entry may be born before its age
// counts as unknown: clocks that are kept by NTP differ by far less.
const futureSlack = 5 * time.Minute

// policy is what a cache policy comes to: whether a result may be used again,
// and for how long. A combination allows only what all of its policies do.
type policy struct {
	cached bool
	ttl    time.Duration // 0 for no limit
}

func policyOf(c *pipeline.CachePolicy) policy {
	if c == nil {
		return policy{}
	}
	switch c.Kind {
	case pipeline.CacheForever, pipeline.CacheOnChange:
		return policy{cached: true}
	case pipeline.CacheTTL:
		return policy{cached: true, ttl: time.Duration(c.TTL)}
	case pipeline.CacheAll:
		all := policy{cached: len(c.All) > 0}
		for i := range c.All {
			one := policyOf(&c.All[i])
			all.cached = all.cached && one.cached
			if one.ttl > 0 && (all.ttl == 0 || one.ttl < all.ttl) {
				all.ttl = one.ttl
			}
		}
		return all
	}
	return policy{}
}

// judge says whether an entry's age allows its use. Without a ttl the clock
// has no say.
func (p policy) judge(e *Entry, now time.Time) Reason {
	if p.ttl == 0 {
		return ReasonHit
	}
	switch age := now.Sub(e.Origin.Time); {
	case age < -futureSlack:
		return ReasonFuture
	case age >= p.ttl:
		return ReasonTTL
	}
	return ReasonHit
}

// lineage is what a step's ancestors with a ttl ask of its own result: to be
// made from theirs, not from what they had before.
type lineage struct {
	ttl  bool  // there is such an ancestor, or the step itself is one
	runs bool  // one of them gets a new result in this run
	seq  int64 // the newest of their entries
}

// with returns the lineage of a step's children, given its own.
func (l lineage) with(p policy, d *Decision) lineage {
	if p.ttl == 0 {
		return l
	}
	if d.Hit() {
		return lineage{ttl: true, runs: l.runs, seq: max(l.seq, d.Entry.Seq)}
	}
	return lineage{ttl: true, runs: true}
}

func (l lineage) allows(e *Entry) bool { return !l.ttl || !l.runs && e.Seq >= l.seq }

// Judge says whether an entry with the step's key may be used: ReasonHit, or
// why not. It is for entries that other processes write after Decide.
func (s *Step) Judge(e *Entry, now time.Time) Reason {
	p := policyOf(s.Step.Cache)
	switch reason := p.judge(e, now); {
	case !p.cached:
		return ReasonPolicy
	case reason != ReasonHit:
		return reason
	case !s.above.allows(e):
		return ReasonParent
	}
	return ReasonHit
}

// KeepsResults reports whether results of a runner can be used again.
func KeepsResults(r runner.StepRunner) bool {
	_, keeper := r.(runner.SnapshotKeeper)
	_, checker := r.(runner.SnapshotChecker)
	_, reaper := r.(runner.SnapshotReaper)
	_, identifier := r.(runner.ImageIdentifier)
	return keeper && checker && reaper && identifier
}

// AlwaysRuns reports whether no earlier result is ever used for the step.
func (s *Step) AlwaysRuns() bool { return !policyOf(s.Step.Cache).cached }

// Kept reports whether the step's result is to be kept for later runs.
func (s *Step) Kept() bool { return !s.Key.IsZero() && policyOf(s.Step.Cache).cached }
