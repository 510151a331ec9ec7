package host

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/strata-ci/strata/internal/image"
	"github.com/strata-ci/strata/pipeline"
)

// IdentifyImage is Identify with the runner's own digests.
func (r *Runner) IdentifyImage(ctx context.Context, step pipeline.Step) (map[string]string, error) {
	return Identify(ctx, r.digests, step)
}

// Identify tells one state of this machine from another: see image.Host. A step
// also sees the tools in the directories of its PATH, each of which is a part,
// and PATH itself. PATH is that of step.Env, else this process's. It needs no
// runner, for plans that are only looked at.
func Identify(ctx context.Context, digests image.Digests, step pipeline.Step) (map[string]string, error) {
	path := stepPath(step)
	var dirs []string
	for _, dir := range filepath.SplitList(path) {
		// What is relative lies in the workspace, whose files are inputs.
		if filepath.IsAbs(dir) {
			dirs = append(dirs, filepath.Clean(dir))
		}
	}
	parts, err := image.Host(ctx, digests, dirs)
	if err != nil {
		return nil, err
	}
	parts["PATH"] = path
	return parts, nil
}

// stepPath returns the value of PATH that a step finds.
func stepPath(step pipeline.Step) string {
	for _, name := range slices.Sorted(maps.Keys(step.Env)) {
		if sameVariable(name, "PATH") {
			return step.Env[name]
		}
	}
	return os.Getenv("PATH")
}
