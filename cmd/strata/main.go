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
)

func main() {
	reexec()
	os.Exit(start(context.Background()))
}

// start runs the command line of this process and returns its exit code.
func start(ctx context.Context) int {
	app, err := newApp()
	if err != nil {
		return report(os.Stderr, err)
	}
	return app.main(ctx, os.Args[1:])
}
