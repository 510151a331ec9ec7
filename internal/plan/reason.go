package plan

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/strata-ci/strata/runner"
)

const (
	comparedResults = 5 // how many earlier results are looked at for the nearest
	timedRuns       = 5 // how many durations the expected one is the median of
)

// Statuses of the journal that LastEnd is asked about.
const (
	statusPassed  = "passed"
	statusCached  = "cached"
	statusSkipped = "skipped"
)

// decider decides about steps, each after its parent.
type decider struct {
	facts    Facts
	plan     *Plan
	earlier  map[StepID][]Earlier
	causes   map[causeID][]Change
	compared map[inputsID][]Change
}

func (d *decider) id(s *Step) StepID {
	return StepID{Project: d.facts.Project, Pipeline: d.plan.Pipeline.Name, Step: s.Name}
}

func (d *decider) decide(ctx context.Context, s *Step) (Decision, error) {
	if s.Parent >= 0 {
		s.above = d.plan.Steps[s.Parent].below
	}
	p := policyOf(s.Step.Cache)
	made, err := d.reason(ctx, s, p)
	if err != nil {
		return Decision{}, err
	}
	if made.Hit() {
		made.Expected = made.Entry.Duration
	} else if made.Expected, err = d.expected(ctx, s); err != nil {
		return Decision{}, err
	}
	s.below = s.above.with(p, &made)
	return made, nil
}

// reason finds out why a step runs or is skipped.
func (d *decider) reason(ctx context.Context, s *Step, p policy) (Decision, error) {
	switch {
	case !p.cached:
		return Decision{Reason: ReasonPolicy, Message: messagePolicy}, nil
	case d.facts.NoCache:
		return Decision{Reason: ReasonNoCache, Message: messageNoCache}, nil
	case s.Key.IsZero():
		return Decision{Reason: ReasonRunner, Message: d.keepsNothing(s)}, nil
	}
	entry, err := d.facts.Past.Entry(ctx, s.Key)
	if err != nil {
		return Decision{}, err
	}
	if entry == nil {
		return d.missing(ctx, s)
	}
	now := d.facts.Now
	switch reason := p.judge(entry, now); {
	case reason == ReasonTTL:
		return Decision{Reason: reason, Message: messageTTL(now.Sub(entry.Origin.Time), p.ttl), Nearest: &entry.Origin}, nil
	case reason == ReasonFuture:
		return Decision{Reason: reason, Message: messageFuture(entry.Origin.Time.Sub(now)), Nearest: &entry.Origin}, nil
	case !s.above.allows(entry):
		return Decision{Reason: ReasonParent, Message: messageParent(d.plan.Steps[s.Parent].Name), Nearest: &entry.Origin}, nil
	}
	if damage := d.damage(ctx, s, entry); damage != nil {
		return Decision{Reason: ReasonDamaged, Message: messageDamaged(damage), Nearest: &entry.Origin}, nil
	}
	return Decision{Reason: ReasonHit, Message: messageHit(entry.Origin), Entry: entry}, nil
}

// damage returns what is wrong with an entry's snapshot; nil also where that
// cannot be found out.
func (d *decider) damage(ctx context.Context, s *Step, entry *Entry) error {
	if d.facts.Check == nil {
		return nil
	}
	var infra *runner.InfraError
	if err := d.facts.Check(ctx, s.Runner, entry.Ref); errors.As(err, &infra) && infra.Kind == runner.KindSnapshot {
		return infra.Err
	}
	return nil
}

// CheckExists is a Check that asks the runner, which costs the same for
// snapshots of every size.
func CheckExists(ctx context.Context, r runner.StepRunner, ref runner.SnapshotRef) error {
	checker, ok := r.(runner.SnapshotChecker)
	if !ok {
		return nil // no earlier results of such a runner are used
	}
	return checker.CheckSnapshot(ctx, ref, runner.CheckExists)
}

// keepsNothing names the runner that keeps no results.
func (d *decider) keepsNothing(s *Step) string {
	culprit := s
	for KeepsResults(culprit.Runner) && culprit.Parent >= 0 {
		culprit = &d.plan.Steps[culprit.Parent]
	}
	if culprit == s {
		return messageRunner(s.Runner.Name())
	}
	return messageParentsRunner(culprit.Name, culprit.Runner.Name())
}

// missing finds out why there is no entry.
func (d *decider) missing(ctx context.Context, s *Step) (Decision, error) {
	past, id := d.facts.Past, d.id(s)
	last, err := past.LastEnd(ctx, id)
	if err != nil {
		return Decision{}, err
	}
	same := last != nil && last.Key == s.Key && last.Status != statusSkipped
	passed := same && (last.Status == statusPassed || last.Status == statusCached)
	if same && !passed {
		return Decision{Reason: ReasonFailed, Message: messageFailed(last)}, nil
	}
	gone, err := past.Gone(ctx, s.Key)
	if err != nil {
		return Decision{}, err
	}
	if gone != nil {
		return Decision{Reason: ReasonEvicted, Message: messageGone(gone, d.facts.Now), Gone: gone, Nearest: &gone.Origin}, nil
	}
	if passed {
		return Decision{Reason: ReasonNotKept, Message: messageNotKept(last)}, nil
	}
	nearest, err := d.nearest(ctx, s)
	if err != nil {
		return Decision{}, err
	}
	if nearest == nil {
		return withoutResults(last), nil
	}
	changes, err := d.changes(ctx, s, &nearest.Material)
	if err != nil {
		return Decision{}, err
	}
	made := Decision{Reason: ReasonChanged, Message: messageChanged(changes, d.allInputs(s)), Nearest: &nearest.Origin, Changes: changes}
	if len(changes) > MaxChanges {
		made.Changes, made.MoreChanges = changes[:MaxChanges:MaxChanges], len(changes)-MaxChanges
	}
	return made, nil
}

// withoutResults is about a step that has no earlier result to compare with.
// Last is nil if it never ran.
func withoutResults(last *LastEnd) Decision {
	switch {
	case last == nil, last.Status == statusSkipped:
		return Decision{Reason: ReasonNew, Message: messageNew}
	case last.Status == statusPassed, last.Status == statusCached:
		return Decision{Reason: ReasonNew, Message: messageNoResults}
	}
	return Decision{Reason: ReasonFailed, Message: messageFailed(last)}
}

// allInputs reports whether all files count for the step that s builds in.
func (d *decider) allInputs(s *Step) bool {
	return s.Parent >= 0 && d.plan.Steps[s.Parent].Material.AllInputs
}

// results returns the newest earlier results of a step.
func (d *decider) results(ctx context.Context, s *Step) ([]Earlier, error) {
	id := d.id(s)
	if known, ok := d.earlier[id]; ok {
		return known, nil
	}
	list, err := d.facts.Past.Earlier(ctx, id, comparedResults)
	d.earlier[id] = list
	return list, err
}

// nearest returns the earlier result that differs in the fewest components,
// the newest of equals; nil if there is none.
func (d *decider) nearest(ctx context.Context, s *Step) (*Earlier, error) {
	list, err := d.results(ctx, s)
	var best *Earlier
	fewest := 0
	for i := range list {
		if n := distance(s.Material, &list[i].Material); n > 0 && (best == nil || n < fewest) {
			best, fewest = &list[i], n
		}
	}
	return best, err
}

// expected is the median of the step's last durations.
func (d *decider) expected(ctx context.Context, s *Step) (time.Duration, error) {
	took, err := d.facts.Past.Durations(ctx, d.id(s), timedRuns)
	if err != nil || len(took) == 0 {
		return 0, err
	}
	took = slices.Sorted(slices.Values(took))
	return took[len(took)/2], nil
}
