package plan

import (
	"context"
	"time"

	"github.com/strata-ci/strata/internal/workspace"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// Facts are what decisions are made from.
type Facts struct {
	// Project is the absolute path of the project's root. It names earlier runs
	// of the same pipeline, and is part of no key.
	Project string
	// Files is the run's view of the workspace; nil for an empty one.
	Files Files
	// Past knows the earlier runs; nil if there were none.
	Past Past
	Now  time.Time
	// NoCache makes every step run.
	NoCache bool
	// Identify tells images apart; nil asks the runner itself.
	Identify func(ctx context.Context, r runner.StepRunner, step pipeline.Step) (map[string]string, error)
}

// Files is a view of the workspace that does not change. Both a
// workspace.Capture and a workspace.View are one.
type Files interface {
	// ID is a digest of all paths, modes and contents, in hex.
	ID() string
	// Select calls visit for each entry that the patterns select, a directory
	// before what is in it, names in the order of their bytes. It returns the
	// positive patterns that match nothing.
	Select(p *workspace.Patterns, visit func(workspace.Entry)) []workspace.Unmatched
}

// Decide computes the keys of all steps and decides which of them run. Its
// error is pipeline.Faults where a pattern matches nothing.
func (p *Plan) Decide(ctx context.Context, f Facts) error {
	return nil
}
