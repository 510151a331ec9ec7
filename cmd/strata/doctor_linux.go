package main

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/strata-ci/strata/internal/records"
	"github.com/strata-ci/strata/internal/runners/container"
	"github.com/strata-ci/strata/internal/sandbox"
)

// isolation tries the container runner with a real step.
func isolation(ctx context.Context, home string) []finding {
	f := finding{Name: "runner container", OK: true, Detail: "works: every step in namespaces of its own"}
	db, err := records.Open(home, records.Options{})
	var c *container.Runner
	if err == nil {
		defer db.Close() //nolint:errcheck // what was committed stays
		c, err = container.New(container.Options{StateDir: filepath.Join(home, "containers"), Private: privatePaths(home), Records: db})
	}
	if err == nil {
		err = errors.Join(try(ctx, c), c.Close())
	}
	if err != nil {
		f.OK, f.Detail, f.Fix = false, err.Error(), sandbox.Advice(err)
		if stateFault(home, err) {
			f.Fix = stateFix(home, err)
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
