package main

import (
	"context"
	"errors"

	"github.com/strata-ci/strata/internal/runners/container"
	"github.com/strata-ci/strata/internal/sandbox"
)

// isolation tries the container runner with a real step.
func isolation(ctx context.Context, s *store) []finding {
	f := finding{Name: "runner container", OK: true, Detail: "works: every step in namespaces of its own"}
	c, err := s.openContainer()
	if err == nil {
		err = errors.Join(try(ctx, c), c.Close())
	}
	if err != nil {
		f.OK, f.Detail, f.Fix = false, err.Error(), sandbox.Advice(err)
		if stateFault(s.home, err) {
			f.Fix = stateFix(s.home, err)
		}
	}
	if c == nil {
		return []finding{f}
	}
	return []finding{f, snapshots(c.Driver())}
}

// snapshots tells how steps are forked from their parents.
func snapshots(d container.Driver) finding {
	if d.Reason == "" {
		return finding{Name: "snapshots", OK: true, Detail: "overlays: a fork costs the same for every size of its parent"}
	}
	return finding{
		Name: "snapshots", Detail: "copies, because " + d.Reason + ": a fork copies its parent's files, and steps cannot write to system directories",
		Fix: d.Fix,
	}
}
