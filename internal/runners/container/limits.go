//go:build linux

package container

import (
	"fmt"

	"github.com/strata-ci/strata/internal/sandbox"
	"github.com/strata-ci/strata/pipeline"
)

// limiter applies steps' limits. Without control groups it knows why there are none.
type limiter struct {
	cgroups *sandbox.Cgroups
	err     error
}

// openLimiter finds out what this machine can limit, and removes the control
// groups that a killed run left.
func openLimiter() (limiter, error) {
	var l limiter
	l.cgroups, l.err = sandbox.OpenCgroups()
	if l.err != nil {
		return l, nil
	}
	return l, l.cgroups.Sweep()
}

// limits returns a step's limits, or why they cannot be kept here.
func (l limiter) limits(r *pipeline.Resources) (sandbox.Limits, error) {
	limits := sandbox.Limits{CPUs: r.CPUs, Memory: int64(r.Memory)}
	if l.err != nil {
		return limits, fmt.Errorf("this machine cannot limit a step: %w", l.err)
	}
	return limits, l.cgroups.Check(limits)
}
