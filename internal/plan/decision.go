package plan

import (
	"context"
	"time"

	"github.com/strata-ci/strata/runner"
)

// Reason is why a step runs or is skipped.
type Reason string

// The reasons.
const (
	ReasonHit     Reason = "hit"              // an earlier result has the same key and may be used
	ReasonPolicy  Reason = "policy_none"      // the step's policy is none
	ReasonNoCache Reason = "no_cache"         // --no-cache
	ReasonRunner  Reason = "runner"           // its runner, or that of a step it builds in, keeps no results
	ReasonNew     Reason = "never_ran"        // no result of this step is known, nor what is left of one
	ReasonFailed  Reason = "failed_last_time" // it did not pass when it ran with the same key, or when it last ran and nothing else is known
	ReasonChanged Reason = "changed"          // the nearest earlier entry has another key: see Changes
	ReasonTTL     Reason = "ttl_over"         // the entry is too old for the policy
	ReasonFuture  Reason = "born_in_future"   // the entry is younger than now: the clock was set back, so its age is unknown
	ReasonEvicted Reason = "evicted"          // there was an entry with this key: see Gone
	ReasonDamaged Reason = "damaged"          // the entry's snapshot is missing or not whole
	ReasonParent  Reason = "parent"           // a step that it builds in, and has a ttl, has a newer result, or gets one in this run
	ReasonNotKept Reason = "not_kept"         // it ran with the same key and passed, and no entry was written
)

// Decision is what a plan says about the cached result of a step, and why.
type Decision struct {
	Reason Reason
	// Message says it in one line.
	Message string
	// Entry is what ReasonHit found.
	Entry *Entry
	// Nearest is the earlier result that Changes compare with; nil if there is none.
	Nearest *Origin
	// Changes are the components in which Nearest differs, at most MaxChanges.
	Changes []Change
	// MoreChanges is how many there are beyond them.
	MoreChanges int
	// Gone tells, for ReasonEvicted, when and by what rule the entry went.
	Gone *Gone
	// Expected is how long the step took lately, 0 if that is not known.
	Expected time.Duration
}

// Hit reports whether an earlier result is to be used.
func (d *Decision) Hit() bool { return d.Reason == ReasonHit }

// MaxChanges bounds the changes of a decision.
const MaxChanges = 20

// Change is one difference between two materials.
type Change struct {
	// Step is the step in whose material it is: one that the step builds in, at
	// any distance. Empty for the step's own.
	Step string `json:"step,omitempty"`
	// Component is a field of Material in the words of the documentation:
	// "command", "environment", "input", "image" …
	Component string `json:"component"`
	// Name is the file, the variable or the part; empty where the component has none.
	Name string `json:"name,omitempty"`
	// Before and After are the values, shortened for people; empty where there
	// was or is none. Of a file After is "added", "removed" or "contents", or
	// both are its modes. Of a variable After is "added", "removed" or "changed":
	// its values may be secrets.
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// StepID names a step across runs.
type StepID struct{ Project, Pipeline, Step string }

// Origin is where an earlier result comes from.
type Origin struct {
	Run  string    `json:"run"`
	Step string    `json:"step"`
	Time time.Time `json:"time"`
}

// Entry is a cached result.
type Entry struct {
	Key      Key
	Seq      int64 // grows with each entry: the order of birth
	Origin   Origin
	Runner   string
	Ref      runner.SnapshotRef
	Duration time.Duration // of the command
	LogBytes int64
	Pinned   bool
}

// Gone is what is left of an entry that is gone.
type Gone struct {
	Origin Origin
	Time   time.Time
	Rule   string // by which rule it went, in a form that reads on after "removed": "to stay below max_bytes"
}

// Earlier is an entry, or what is left of one, to compare with.
type Earlier struct {
	Origin   Origin
	Material Material
}

// LastEnd is how a step ended when it last ran.
type LastEnd struct {
	Run    string
	Status string // a status of the journal
	Key    Key
}

// Past is what a plan asks about earlier runs. Nothing that is not there is an error.
type Past interface {
	Entry(ctx context.Context, key Key) (*Entry, error)
	Gone(ctx context.Context, key Key) (*Gone, error)
	// Earlier returns the newest results of a step, at most n, the newest first.
	Earlier(ctx context.Context, id StepID, n int) ([]Earlier, error)
	LastEnd(ctx context.Context, id StepID) (*LastEnd, error)
	// Durations returns how long the step's newest passed runs took, at most n.
	Durations(ctx context.Context, id StepID, n int) ([]time.Duration, error)
	// Inputs returns the list of inputs that has the digest; nil if it is not kept.
	Inputs(ctx context.Context, list Digest) ([]Input, error)
}
