package render

import (
	"fmt"
	"strings"
	"time"

	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/pipeline"
)

// Duration returns d with three significant digits or fewer and always with a
// unit: "0.42 s", "12.3 s", "2 m 05 s", "1 h 02 m". Negative spans are zero.
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "0.00 s"
	case d < 9995*time.Millisecond: // below, two decimals would show 10.00
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d < 59950*time.Millisecond:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return wholeSeconds(d.Round(time.Second))
}

// wholeSeconds is Duration for a span that is still growing: without
// fractions, so that the eye is left alone.
func wholeSeconds(d time.Duration) string {
	s := max(int64(d/time.Second), 0)
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d m %02d s", s/60, s%60)
	}
	return fmt.Sprintf("%d h %02d m", s/3600, s%3600/60)
}

// Milliseconds is Duration for the journal's millisecond fields.
func Milliseconds(ms float64) string {
	return Duration(time.Duration(ms * float64(time.Millisecond)))
}

// Bytes returns an amount of bytes with a binary unit: "512 B", "3.4 MiB".
func Bytes(n int64) string { return pipeline.Bytes(n).String() }

// Count returns n with the noun in its number: "1 step", "3 steps".
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Word returns a status as a person would say it.
func Word(s journal.Status) string {
	switch s {
	case journal.TimedOut:
		return "timed out"
	case journal.InfraFailed:
		return "infrastructure error"
	case "":
		return "not finished"
	}
	return strings.ReplaceAll(string(s), "_", " ")
}

// Mark returns the one-column sign of a status.
func Mark(s journal.Status) string {
	switch s {
	case journal.Passed, journal.Cached:
		return "✓"
	case journal.Failed, journal.TimedOut, journal.Invalid:
		return "✗"
	case journal.InfraFailed:
		return "!"
	case journal.Skipped, journal.Cancelled, journal.Interrupted:
		return "-"
	}
	return "·"
}

// Ending says how a step ended, by its step_finished event: "passed", "exit
// code 1", "killed by SIGSEGV", "out of memory", "skipped because of test".
func Ending(e *journal.Event) string {
	switch e.Status {
	case journal.Failed:
		return failure(e)
	case journal.Skipped, journal.Cancelled:
		if e.Cause != "" {
			return Word(e.Status) + " because of " + cleanString(e.Cause)
		}
	}
	return Word(e.Status)
}

func failure(e *journal.Event) string {
	switch {
	case e.OutOfMemory:
		return "out of memory"
	case e.Signal != "":
		return "killed by " + cleanString(e.Signal)
	case e.ExitCode != nil:
		return fmt.Sprintf("exit code %d", *e.ExitCode)
	}
	return "failed"
}
