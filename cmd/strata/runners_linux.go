package main

import (
	"path/filepath"

	"github.com/strata-ci/strata/internal/runners/container"
	"github.com/strata-ci/strata/pipeline"
)

func (r *runners) openIsolated(home string) error {
	c, err := container.New(container.Options{
		StateDir: filepath.Join(home, "containers"), Private: privatePaths(home),
	})
	if err != nil {
		r.fallBack("container", err)
		return nil
	}
	r.closers = append(r.closers, c)
	return r.registry.Register(c)
}

// runnerSet describes this platform's runners without starting any.
func (a *app) runnerSet() pipeline.RunnerSet {
	return pipeline.RunnerSet{Names: []string{"container", "host"}, Default: "container"}
}
