//go:build linux

package container

import (
	"context"

	"github.com/strata-ci/strata/internal/image"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// IdentifyImage is Identify with the runner's own digests.
func (r *Runner) IdentifyImage(ctx context.Context, step pipeline.Step) (map[string]string, error) {
	return Identify(ctx, r.opts.Digests, step)
}

// Identify tells one state of the step's image from another. The only image so
// far is this machine: see image.Host; the step's host_paths are parts, too. It
// needs no runner, for plans that are only looked at.
func Identify(ctx context.Context, digests image.Digests, step pipeline.Step) (map[string]string, error) {
	if err := CheckStep(step); err != nil {
		return nil, err
	}
	a, err := parseArgs(step.RunnerArgs)
	if err != nil {
		return nil, err
	}
	return image.Host(ctx, digests, a.HostPaths)
}

var _ runner.ImageIdentifier = (*Runner)(nil)
