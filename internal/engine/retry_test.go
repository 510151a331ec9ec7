package engine_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/strata-ci/strata/internal/engine"
	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

var (
	busy   = &runner.InfraError{Op: "boot", Kind: runner.KindLost, Temporary: true, Err: errors.New("no machine is free")}
	broken = &runner.InfraError{Op: "boot", Kind: runner.KindLost, Err: errors.New("the machine is gone")}
)

// tries makes a script whose nth execution ends as the nth letter says: i an
// infrastructure error that may pass, I one that does not, f a failure, t a
// time limit, p a pass. Each writes its letter.
func tries(letters string) func(context.Context, *runner.StepContext, runner.ExecutorInput) (runner.StepResult, error) {
	n := 0
	return func(_ context.Context, sc *runner.StepContext, _ runner.ExecutorInput) (runner.StepResult, error) {
		letter := letters[n]
		n++
		if _, err := fmt.Fprintf(sc.Stdout, "%c\n", letter); err != nil {
			return runner.StepResult{}, err
		}
		switch letter {
		case 'i':
			return runner.StepResult{}, fmt.Errorf("start: %w", busy)
		case 'I':
			return runner.StepResult{}, broken
		case 'f':
			return runner.StepResult{ExitCode: 1}, nil
		case 't':
			return runner.StepResult{TimedOut: true}, nil
		}
		return runner.StepResult{}, nil
	}
}

func TestRetries(t *testing.T) {
	for _, tt := range []struct {
		name               string
		retry, retryFailed int
		tries              string // more than there may be: then the script would fail
		status             journal.Status
		pauses             []int
	}{
		{"no retries", 0, 0, "i", journal.InfraFailed, nil},
		{"the machine, once", 2, 0, "ip", journal.Passed, []int{1}},
		{"the machine, too often", 3, 0, "iiii", journal.InfraFailed, []int{1, 2, 3}},
		{"the machine, for good", 3, 0, "I", journal.InfraFailed, nil},
		{"the machine, then for good", 3, 0, "iI", journal.InfraFailed, []int{1}},
		{"a failure is not the machine's", 3, 0, "f", journal.Failed, nil},
		{"the command", 0, 2, "ffp", journal.Passed, nil},
		{"the command, too often", 0, 2, "fff", journal.Failed, nil},
		{"the machine is not the command", 0, 2, "i", journal.InfraFailed, nil},
		{"out of time is not passed", 0, 1, "tp", journal.Passed, nil},
		{"out of time, too often", 0, 1, "ft", journal.TimedOut, nil},
		{"both", 2, 1, "ifip", journal.Passed, []int{1, 2}},
		{"both, too often", 1, 1, "iff", journal.Failed, []int{1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newShop(t)
			var pauses []int
			f.backoff = func(n int) time.Duration {
				pauses = append(pauses, n)
				return 0
			}
			f.steps = map[string]func(context.Context, *runner.StepContext, runner.ExecutorInput) (runner.StepResult, error){"try": tries(tt.tries)}
			steps := []pipeline.Step{step("flaky", "try", forever, func(s *pipeline.Step) { s.Retry, s.RetryFailed = tt.retry, tt.retryFailed })}
			result, ends, events := f.run(t.Context(), &pipeline.Pipeline{Steps: steps}, nil)
			f.wantStatus(result.Status, tt.status)
			f.wantStatus(ends["flaky"].Status, tt.status)
			if !slices.Equal(pauses, tt.pauses) {
				t.Errorf("pauses %v, want %v", pauses, tt.pauses)
			}
			want := len(tt.tries)
			if want == 1 {
				want = 0 // then nothing is said of attempts
			}
			if got := ends["flaky"].Attempt; got != want {
				t.Errorf("it ended at attempt %d, want %d", got, want)
			}
			var letters string
			for _, line := range f.log(result.RunID, "flaky") {
				if line != '\n' {
					letters += string(line)
				}
			}
			if letters != tt.tries {
				t.Errorf("the log has the output of the attempts %q, want %q", letters, tt.tries)
			}
			f.wantRetries(events, tt.tries)
			f.wantValid(events)
			f.wantNothingHeld()
		})
	}
}

// wantRetries checks that each further attempt is told of, with how the one
// before it ended.
func (f *fixture) wantRetries(events []journal.Event, tries string) {
	f.Helper()
	status := map[byte]journal.Status{'i': journal.InfraFailed, 'f': journal.Failed, 't': journal.TimedOut}
	n := 1
	for _, e := range events {
		if e.Type != journal.StepRetried {
			continue
		}
		if e.Attempt != n+1 || e.Status != status[tries[n-1]] || e.Message == "" {
			f.Errorf("attempt %d is told of as %+v", n+1, e)
		}
		n++
	}
	if n != len(tries) {
		f.Errorf("%d attempts are told of, want %d", n, len(tries))
	}
}

func (f *fixture) log(id, step string) string {
	f.Helper()
	run, err := journal.Open(filepath.Join(engine.RunsDir(f.home), id))
	if err != nil {
		f.Fatal(err)
	}
	var text []byte
	for item, err := range run.Follow(f.Context(), journal.FollowOptions{}) {
		if err != nil {
			f.Fatal(err)
		}
		if item.Output != nil && item.Output.Step == step {
			text = append(text, item.Output.Data...)
		}
	}
	return string(text)
}

func TestCancelDuringBackoff(t *testing.T) {
	f := newShop(t)
	ctx, cancel := context.WithCancel(t.Context())
	f.backoff = func(int) time.Duration {
		cancel()
		return 24 * time.Hour
	}
	f.steps = map[string]func(context.Context, *runner.StepContext, runner.ExecutorInput) (runner.StepResult, error){"try": tries("i")}
	result, ends, _ := f.run(ctx, &pipeline.Pipeline{Steps: []pipeline.Step{step("flaky", "try", forever, func(s *pipeline.Step) { s.Retry = 5 })}}, nil)
	f.wantStatus(result.Status, journal.Cancelled)
	f.wantStatus(ends["flaky"].Status, journal.Cancelled)
	f.wantNothingHeld()
}

func TestBackoffGrowsUpToABound(t *testing.T) {
	last := time.Duration(0)
	for n := 1; n < 200; n++ {
		pause := engine.Backoff(n)
		if pause < last || pause <= 0 || pause > time.Minute {
			t.Fatalf("the pause before try %d is %v, after one of %v", n, pause, last)
		}
		last = pause
	}
}

// TestRetriedResultIsKeptOnce: what an earlier attempt left is not what is used.
func TestRetriedResultIsKeptOnce(t *testing.T) {
	f := newShop(t)
	f.steps = map[string]func(context.Context, *runner.StepContext, runner.ExecutorInput) (runner.StepResult, error){"try": tries("ffp")}
	steps := []pipeline.Step{step("flaky", "try", forever, func(s *pipeline.Step) { s.RetryFailed = 2 }), step("child", "c", in("flaky"))}
	f.want(journal.Passed, steps, "child flaky flaky flaky")
	ends, _ := f.want(journal.Passed, steps, "child")
	f.wantStatus(ends["flaky"].Status, journal.Cached)
	f.wantNothingHeld()
}
