package host

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/strata-ci/strata/internal/image"
	"github.com/strata-ci/strata/pipeline"
)

// IdentifyImage tells one state of this machine from another: see image.Host.
// A step also sees the tools in the directories of its PATH, each of which is a
// part, and PATH itself. PATH is that of step.Env, else this process's. What
// was found is remembered for as long as the runner lives, so that all steps of
// a run are judged by the same machine.
func (r *Runner) IdentifyImage(ctx context.Context, step pipeline.Step) (map[string]string, error) {
	return r.identity.of(ctx, stepPath(step))
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

// identity remembers this machine's parts by the value of PATH.
type identity struct {
	digests image.Digests

	mu    sync.Mutex
	known map[string]map[string]string
}

func (i *identity) of(ctx context.Context, path string) (map[string]string, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if parts, ok := i.known[path]; ok {
		return maps.Clone(parts), nil
	}
	var dirs []string
	for _, dir := range filepath.SplitList(path) {
		// What is relative lies in the workspace, whose files are inputs.
		if filepath.IsAbs(dir) {
			dirs = append(dirs, filepath.Clean(dir))
		}
	}
	parts, err := image.Host(ctx, i.digests, dirs)
	if err != nil {
		return nil, err
	}
	parts["PATH"] = path
	if i.known == nil {
		i.known = map[string]map[string]string{}
	}
	i.known[path] = parts
	return maps.Clone(parts), nil
}
