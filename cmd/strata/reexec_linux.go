package main

import (
	"os"

	"github.com/strata-ci/strata/internal/runners/host"
	"github.com/strata-ci/strata/internal/sandbox"
)

// reexec turns the process into the helper that a runner started it to be, and
// then never returns. It is the first thing that main does.
func reexec() {
	if sandbox.IsCell(os.Args) {
		sandbox.CellMain(os.Args)
	}
	host.Supervise()
}
