//go:build !linux

package main

import "github.com/strata-ci/strata/pipeline"

// openIsolated has nothing to open: no isolating runner exists for this system yet.
func (r *runners) openIsolated(string) error {
	r.notices = append(r.notices, "steps run without isolation, in copies of the workspace: this system has no isolating runner")
	return nil
}

// runnerSet describes this platform's runners without starting any.
func (a *app) runnerSet() pipeline.RunnerSet {
	return pipeline.RunnerSet{Names: []string{"host"}, Default: "host"}
}
