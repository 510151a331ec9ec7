// Command strata runs pipelines, each step in a sandbox that starts from its
// parent's snapshot, and shows what happened.
//
// In: a command line, pipeline files and the journals of runs. Out: text, JSON
// and an exit code. It joins the other packages and decides nothing that one of
// them could decide.
package main

import (
	"context"
	"os"
	"runtime/debug"
)

func main() {
	reexec()
	collectLess()
	os.Exit(start(context.Background()))
}

// collectLess lets the heap grow to five times what is in use before it is
// collected, in place of twice. Most commands then end before the first
// collection, at 16 MB; with the usual one at 4 MB, a run in which all steps
// are cached spent a quarter of its time on collections. GOGC still decides
// where it is set.
func collectLess() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}

// start runs the command line of this process and returns its exit code.
func start(ctx context.Context) int {
	app, err := newApp()
	if err != nil {
		return report(os.Stderr, err)
	}
	return app.main(ctx, os.Args[1:])
}
