package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/strata-ci/strata/internal/cache"
	"github.com/strata-ci/strata/internal/history"
	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/internal/records"
)

// past is what the records say of earlier runs.
type past struct {
	*cache.Cache
	*history.History
}

var _ plan.Past = past{}

// Past joins what a plan asks about earlier runs.
func Past(c *cache.Cache, h *history.History) plan.Past { return past{c, h} }

// decide fills in the plan's keys and decisions, and writes them down. Records
// that are damaged are no past at all.
func (r *run) decide(ctx context.Context) error {
	facts := plan.Facts{
		Project: r.Project, Files: r.workspace, Past: Past(r.engine.Cache, r.engine.History),
		Now: r.engine.Now(), NoCache: r.NoCache, Check: plan.CheckExists,
	}
	err := r.Plan.Decide(ctx, facts)
	if records.IsDamaged(err) {
		r.later(err)
		if err := r.notices([]string{fmt.Sprintf("no earlier results are used: %v", err)}); err != nil {
			return err
		}
		facts.Past = nil
		err = r.Plan.Decide(ctx, facts)
	}
	if err != nil {
		return err
	}
	decisions := make([]journal.Decision, len(r.Plan.Steps))
	for i := range r.Plan.Steps {
		decisions[i] = Decision(&r.Plan.Steps[i])
	}
	return r.journal.Append(journal.Event{Type: journal.PlanMade, Decisions: decisions})
}

// hold makes the results that the run uses stay until it has ended, whoever
// collects meanwhile, and notes which of them have gone since the plan was made.
// A run that starts nothing needs none of them.
func (r *run) hold(ctx context.Context) (release func()) {
	var hits []*plan.Entry
	for i := range r.Plan.Steps {
		if s := &r.Plan.Steps[i]; s.Decision.Hit() {
			hits = append(hits, s.Decision.Entry)
		}
	}
	if len(hits) == len(r.Plan.Steps) {
		return func() {}
	}
	hold, err := r.engine.Cache.Hold(ctx)
	if err != nil {
		if ctx.Err() == nil {
			r.later(err) // what is removed is made again
		}
		return func() {}
	}
	gone, err := r.engine.Cache.Take(ctx, hits)
	if err != nil && ctx.Err() == nil {
		r.later(fmt.Errorf("use earlier results: %w", err))
	}
	r.gone = gone
	return func() {
		if err := hold.Release(); err != nil {
			r.later(err)
		}
	}
}

// Decision is what the plan decided about a step, in the journal's words.
func Decision(s *plan.Step) journal.Decision {
	d := &s.Decision
	out := journal.Decision{
		Step: s.Name, Reason: string(d.Reason), Message: d.Message, Key: keyText(s.Key),
		Nearest: origin(d.Nearest), MoreChanges: d.MoreChanges, ExpectedMS: milliseconds(d.Expected),
	}
	if d.Hit() {
		out.From = origin(&d.Entry.Origin)
	}
	for _, c := range d.Changes {
		out.Changes = append(out.Changes, journal.Change(c))
	}
	if d.Gone != nil {
		out.Gone = &journal.Gone{From: *origin(&d.Gone.Origin), Time: d.Gone.Time.UTC(), Rule: d.Gone.Rule}
	}
	return out
}

// Decided is what Decision was made of, as far as the journal keeps it.
func Decided(d *journal.Decision) plan.Decision {
	out := plan.Decision{
		Reason: plan.Reason(d.Reason), Message: d.Message, MoreChanges: d.MoreChanges,
		Expected: time.Duration(d.ExpectedMS * float64(time.Millisecond)),
	}
	if d.From != nil {
		out.Entry = &plan.Entry{Origin: plan.Origin(*d.From), Duration: out.Expected}
	}
	if d.Nearest != nil {
		nearest := plan.Origin(*d.Nearest)
		out.Nearest = &nearest
	}
	for _, c := range d.Changes {
		out.Changes = append(out.Changes, plan.Change(c))
	}
	if d.Gone != nil {
		out.Gone = &plan.Gone{Origin: plan.Origin(d.Gone.From), Time: d.Gone.Time, Rule: d.Gone.Rule}
	}
	return out
}

func origin(o *plan.Origin) *journal.Origin {
	if o == nil {
		return nil
	}
	return &journal.Origin{Run: o.Run, Step: o.Step, Time: o.Time.UTC()}
}

func keyText(k plan.Key) string {
	if k.IsZero() {
		return ""
	}
	return k.String()
}

// weight is how long a step is likely to take, in seconds.
func weight(d *plan.Decision) float64 {
	if d.Hit() {
		return time.Microsecond.Seconds()
	}
	return d.Expected.Seconds() // 0, for unknown, counts as 1
}
