package main

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/strata-ci/strata/internal/runners/container"
	"github.com/strata-ci/strata/internal/sandbox"
)

// isolation tries the container runner with a real step.
func isolation(ctx context.Context, home string) []finding {
	f := finding{Name: "runner container", OK: true, Detail: "works: every step in namespaces of its own, over layers (overlayfs)"}
	c, err := container.New(container.Options{StateDir: filepath.Join(home, "containers"), Private: privatePaths(home)})
	if err == nil {
		err = errors.Join(try(ctx, c), c.Close())
	}
	if err != nil {
		f.OK, f.Detail, f.Fix = false, err.Error(), sandbox.Advice(err)
		if stateFault(home, err) {
			f.Fix = stateFix(home, err)
		}
	}
	return []finding{f}
}
