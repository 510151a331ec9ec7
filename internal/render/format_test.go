package render

import (
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/strata-ci/strata/internal/journal"
)

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second:                     "0.00 s",
		0:                                "0.00 s",
		421 * time.Millisecond:           "0.42 s",
		9994 * time.Millisecond:          "9.99 s",
		9995 * time.Millisecond:          "10.0 s",
		12345 * time.Millisecond:         "12.3 s",
		59949 * time.Millisecond:         "59.9 s",
		59950 * time.Millisecond:         "1 m 00 s",
		125 * time.Second:                "2 m 05 s",
		59*time.Minute + 59600*1000*1000: "1 h 00 m",
		26*time.Hour + 3*time.Minute:     "26 h 03 m",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestEnding(t *testing.T) {
	for want, e := range map[string]journal.Event{
		"passed":                   {Status: journal.Passed, ExitCode: code(0)},
		"cached":                   {Status: journal.Cached},
		"exit code 137":            {Status: journal.Failed, ExitCode: code(137)},
		"killed by SIGSEGV":        {Status: journal.Failed, ExitCode: code(-1), Signal: "SIGSEGV"},
		"out of memory":            {Status: journal.Failed, ExitCode: code(-1), Signal: "SIGKILL", OutOfMemory: true},
		"timed out":                {Status: journal.TimedOut, ExitCode: code(-1), Signal: "SIGTERM"},
		"skipped because of build": {Status: journal.Skipped, Cause: "build"},
		"cancelled":                {Status: journal.Cancelled},
		"infrastructure error":     {Status: journal.InfraFailed},
		"interrupted":              {Status: journal.Interrupted},
	} {
		if got := Ending(&e); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// FuzzClean: whatever a step prints, nothing that acts on a terminal is left,
// and what only prints is kept.
func FuzzClean(f *testing.F) {
	for _, seed := range []string{"", "text", "\x1b[31mx\x1b[0m", "\x1b]0;t\x07", "\x1b]0;t\x1b\\", "\x1bP\x1b", "\x1b(", "\xc2\x9b2J", "\t\xff\u202e"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		got := string(appendClean(nil, line))
		if !utf8.ValidString(got) {
			t.Errorf("%q is not UTF-8", got)
		}
		if i := strings.IndexFunc(got, unicode.IsControl); i >= 0 {
			t.Errorf("a control character is left in %q", got)
		}
		if again := string(appendClean(nil, []byte(got))); again != got {
			t.Errorf("cleaning %q again gives %q", got, again)
		}
	})
}

// FuzzLines: however a log is cut, its lines are the same and none is too long.
func FuzzLines(f *testing.F) {
	f.Add([]byte("one\ntwo\r\nthree\rfour"), uint8(3))
	f.Add([]byte("\r\r\n\n\r"), uint8(1))
	f.Fuzz(func(t *testing.T, log []byte, size uint8) {
		collect := func(piece int) string {
			var l lines
			var out strings.Builder
			emit := func(line []byte, continues bool) {
				if len(line) > maxLine || strings.ContainsAny(string(line), "\r\n") {
					t.Errorf("bad line %q", line)
				}
				out.Write(line)
				out.WriteByte('\n')
			}
			for rest := log; len(rest) > 0; {
				n := min(piece, len(rest))
				l.write(rest[:n], emit)
				rest = rest[n:]
			}
			l.flush(emit)
			return out.String()
		}
		if whole, cut := collect(max(len(log), 1)), collect(int(size)+1); whole != cut {
			t.Errorf("whole %q, cut %q", whole, cut)
		}
	})
}
