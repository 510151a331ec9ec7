package render

import (
	"strings"

	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/runner"
)

// Advice says what a user can do about an infrastructure error.
func Advice(e *journal.Error) string {
	switch runner.InfraKind(e.Kind) {
	case runner.KindDiskFull:
		return "free some space on that file system, or set STRATA_HOME to a directory on another, and run again"
	case runner.KindUnsupported:
		return "`strata doctor` says what this machine lacks and how to get it"
	case runner.KindStart:
		return "check that the step's program, shell and directory exist where it runs"
	case runner.KindWorkspace:
		return "change the workspace as the error says, and run again"
	case runner.KindSnapshot:
		return "run again with --no-cache: the snapshot is made anew"
	case runner.KindLost:
		return "run again; if it happens again, look for a crash or a lack of memory on this machine"
	}
	if e.Temporary {
		return "run again: the cause may have passed"
	}
	return "`strata doctor` checks this machine; if it finds nothing, please report this as a fault"
}

// faultLines are what is wrong with the pipeline of an invalid run, each in one line.
func faultLines(e *journal.Error) []string {
	var lines []string
	for line := range strings.Lines(e.Message) {
		lines = append(lines, cleanString(strings.TrimSuffix(line, "\n")))
	}
	return lines
}

// errorLines explains an infrastructure error in four lines, each a word and a text.
func errorLines(e *journal.Error) [][2]string {
	if e == nil {
		return [][2]string{{"error", "the journal does not say what went wrong"}}
	}
	return [][2]string{
		{"doing", cleanString(e.Op)},
		{"error", cleanString(e.Message)},
		{"kind", cleanString(e.Kind)},
		{"to do", Advice(e)},
	}
}
