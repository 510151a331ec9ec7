package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/internal/render"
	"github.com/strata-ci/strata/runner"
)

// The exit codes of strata.
const (
	exitPassed    = 0
	exitFailed    = 1   // a step failed or timed out
	exitInvalid   = 2   // the command line or the pipeline is invalid
	exitInfra     = 3   // the engine, a runner or the machine failed
	exitCancelled = 130 // the user ended the run; as shells tell of SIGINT
)

// exitError carries an exit code out of a command. An error without one ends
// the program with exitInfra: whatever the user can get wrong is an exitError.
type exitError struct {
	code int
	err  error // nil where all is said already
}

// Error returns the error's text.
func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

// Unwrap returns the error.
func (e *exitError) Unwrap() error { return e.err }

// exit ends the program with a code and says nothing more.
func exit(code int) error { return &exitError{code: code} }

// invalid marks an error as the command line's or the pipeline's.
func invalid(err error) error { return &exitError{code: exitInvalid, err: err} }

func invalidf(format string, args ...any) error { return invalid(fmt.Errorf(format, args...)) }

// report writes a command's error, if there is anything to say, and returns the
// exit code.
func report(stderr io.Writer, err error) int {
	if err == nil || closedPipe(err) {
		return exitPassed // whoever read has had enough
	}
	code := exitInfra
	var coded *exitError
	if errors.As(err, &coded) {
		code = coded.code
		if coded.err == nil {
			return code
		}
	}
	text := err.Error()
	var infra *runner.InfraError
	if errors.As(err, &infra) {
		text += "\n" + render.Advice(&journal.Error{Kind: string(infra.Kind), Temporary: infra.Temporary})
	}
	_, _ = fmt.Fprintf(stderr, "strata: %s\n", strings.TrimRight(clean(text), "\n")) // there is nowhere else to say it
	return code
}

// plainCause returns the cause of a file system's error without the system
// call and the path, for a message that has said both.
func plainCause(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}
