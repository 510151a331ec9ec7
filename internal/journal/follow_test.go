package journal_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-ci/strata/internal/journal"
)

// readers returns a run as its own process reads it, and as others do.
func readers(t *testing.T, w *journal.Writer) map[string]*journal.Run {
	t.Helper()
	return map[string]*journal.Run{"own process": w.Run(), "other process": open(t, w.Dir())}
}

func TestFollowFinishedRun(t *testing.T) {
	w := create(t, t.TempDir(), "r1")
	add(t, w, runStarted("a", "b", "c"), started("a"), started("b"))
	write(t, w, "a", "a1\n")
	write(t, w, "b", "b1\n")
	write(t, w, "a", "a2 without an end")
	add(t, w, finished("b", journal.Passed), finished("a", journal.Failed), finished("c", journal.Skipped), runFinished(journal.Failed))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		opts journal.FollowOptions
		want []string
	}{
		{"all", journal.FollowOptions{}, []string{
			"run_started", "step_started a", "step_started b",
			"b: b1\n", "step_finished b passed",
			"a: a1\na2 without an end", "step_finished a failed",
			"step_finished c skipped", "run_finished failed",
		}},
		{"one step", journal.FollowOptions{Step: "b"}, []string{"step_started b", "b: b1\n", "step_finished b passed"}},
		{"skipped step", journal.FollowOptions{Step: "c"}, []string{"step_finished c skipped"}},
		{"events", journal.FollowOptions{EventsOnly: true, After: 3}, []string{
			"step_finished b passed", "step_finished a failed", "step_finished c skipped", "run_finished failed",
		}},
		{"after b's end", journal.FollowOptions{After: 4}, []string{
			"a: a1\na2 without an end", "step_finished a failed", "step_finished c skipped", "run_finished failed",
		}},
		{"after the end", journal.FollowOptions{After: 7}, nil},
	}
	for _, tt := range tests {
		for name, run := range readers(t, w) {
			if diff := cmp.Diff(tt.want, follow(t, run, tt.opts).entries); diff != "" {
				t.Errorf("%s, %s (-want +got):\n%s", tt.name, name, diff)
			}
		}
	}
}

func TestFollowUnknownStep(t *testing.T) {
	w := create(t, t.TempDir(), "r1")
	add(t, w, runStarted("a"))
	for _, err := range w.Run().Follow(t.Context(), journal.FollowOptions{Step: "b"}) {
		if err == nil || !strings.Contains(err.Error(), `no step "b"`) {
			t.Errorf("the error is %v", err)
		}
	}
}

// TestFollowLive writes each piece only when the reader has got the one before
// it: what is not delivered as it grows ends in the time limit.
func TestFollowLive(t *testing.T) {
	for _, name := range []string{"own process", "other process"} {
		t.Run(name, func(t *testing.T) {
			w := create(t, t.TempDir(), "r1")
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			next, stop := iter.Pull2(readers(t, w)[name].Follow(ctx, journal.FollowOptions{}))
			defer stop()
			expect := func(want string) {
				t.Helper()
				item, err, _ := next()
				if err != nil {
					t.Fatalf("%v instead of %s", err, want)
				}
				var tr transcript
				tr.add(item)
				if tr.entries[0] != want {
					t.Fatalf("%q instead of %q", tr.entries[0], want)
				}
			}
			add(t, w, runStarted("a", "b"))
			expect("run_started")
			add(t, w, started("a"))
			expect("step_started a")
			write(t, w, "a", "1")
			expect("a: 1")
			add(t, w, started("b"))
			expect("step_started b")
			write(t, w, "b", "2")
			expect("b: 2")
			write(t, w, "a", "3")
			expect("a: 3")
			add(t, w, finished("a", journal.Passed))
			expect("step_finished a passed")
			write(t, w, "b", "4")
			add(t, w, finished("b", journal.Passed), runFinished(journal.Passed))
			expect("b: 4")
			expect("step_finished b passed")
			expect("run_finished passed")
			if _, err, ok := next(); ok {
				t.Fatalf("more after the end: %v", err)
			}
		})
	}
}

// TestFollowManyLive has readers of both kinds, started at any time, read what
// two steps write at full speed. Every one gets every byte, in order.
func TestFollowManyLive(t *testing.T) {
	const size = 8 << 20
	w := create(t, t.TempDir(), "r1")
	add(t, w, runStarted("a", "b"), started("a"), started("b"))

	type result struct {
		sums map[string]string
		err  error
	}
	results := make(chan result)
	read := func(run *journal.Run) {
		hashes := map[string]hash.Hash{"a": sha256.New(), "b": sha256.New()}
		res := result{sums: make(map[string]string)}
		ended := make(map[string]bool)
		for item, err := range run.Follow(t.Context(), journal.FollowOptions{}) {
			switch {
			case err != nil:
				res.err = err
			case item.Output != nil && ended[item.Output.Step]:
				res.err = errors.New("output after the step's end")
			case item.Output != nil:
				hashes[item.Output.Step].Write(item.Output.Data)
			case item.Event.Type == journal.StepFinished:
				ended[item.Event.Step] = true
			}
		}
		for step, h := range hashes {
			res.sums[step] = string(h.Sum(nil))
		}
		results <- res
	}
	const readersOfEach = 2
	for range readersOfEach {
		go read(w.Run())
		go read(open(t, w.Dir()))
	}
	written := make(chan string)
	for i, step := range []string{"a", "b"} {
		log, err := w.Log(step)
		if err != nil {
			t.Fatal(err)
		}
		go func() { written <- step + writeRandom(t, log, uint64(i), size) }()
	}
	want := make(map[string]string)
	for range 2 {
		sum := <-written
		want[sum[:1]] = sum[1:]
		add(t, w, finished(sum[:1], journal.Passed))
	}
	add(t, w, runFinished(journal.Passed))
	for range 2 * readersOfEach {
		res := <-results
		if res.err != nil {
			t.Error(res.err)
		}
		if diff := cmp.Diff(want, res.sums); diff != "" {
			t.Errorf("a reader got other bytes than were written:\n%s", diff)
		}
	}
}

// writeRandom writes bytes in pieces of all sizes and returns their digest.
func writeRandom(t *testing.T, w io.Writer, seed uint64, size int) string {
	random := rand.New(rand.NewPCG(seed, 1))
	h := sha256.New()
	buf := make([]byte, 64<<10)
	for size > 0 {
		p := buf[:min(size, 1+random.IntN(len(buf)))]
		for i := range p {
			p[i] = byte(random.Uint32())
		}
		h.Write(p)
		if _, err := w.Write(p); err != nil {
			t.Error(err)
		}
		size -= len(p)
	}
	return string(h.Sum(nil))
}

func TestSlowReaderHoldsNothingUp(t *testing.T) {
	w := create(t, t.TempDir(), "r1")
	add(t, w, runStarted("a"), started("a"))
	for name, run := range readers(t, w) {
		next, stop := iter.Pull2(run.Follow(t.Context(), journal.FollowOptions{}))
		defer stop()
		if item, err, _ := next(); err != nil || item.Event.Type != journal.RunStarted {
			t.Fatalf("%s: %v, %v", name, item, err)
		}
		defer func() {
			want := []string{"step_started a", "a: " + strings.Repeat("line\n", 100_000), "step_finished a passed", "run_finished passed"}
			var tr transcript
			for item, err, ok := next(); ok; item, err, ok = next() {
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				tr.add(item)
			}
			if diff := cmp.Diff(want, tr.entries); diff != "" {
				t.Errorf("%s (-want +got):\n%.400s", name, diff)
			}
		}()
	}
	// No reader reads now. The writer goes on to the end of the run.
	for range 100_000 {
		write(t, w, "a", "line\n")
	}
	add(t, w, finished("a", journal.Passed), runFinished(journal.Passed))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFollowEndsWithContext(t *testing.T) {
	w := create(t, t.TempDir(), "r1")
	add(t, w, runStarted("a"))
	for name, run := range readers(t, w) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var last error
		for _, err := range run.Follow(ctx, journal.FollowOptions{}) {
			last = err
			cancel()
		}
		if !errors.Is(last, context.Canceled) {
			t.Errorf("%s: the last error is %v", name, last)
		}
	}
}

func TestFollowEndsWhenTheConsumerDoes(t *testing.T) {
	w := create(t, t.TempDir(), "r1")
	add(t, w, runStarted("a"), started("a"))
	write(t, w, "a", "1")
	for _, run := range readers(t, w) {
		for item, err := range run.Follow(t.Context(), journal.FollowOptions{}) {
			if err != nil {
				t.Fatal(err)
			}
			if item.Output != nil {
				break
			}
		}
	}
}

func TestFollowEndsWhenTheWriterIsGone(t *testing.T) {
	w := create(t, t.TempDir(), "r1")
	add(t, w, runStarted("a"), started("a"))
	write(t, w, "a", "half a li")
	want := []string{"run_started", "step_started a", "a: half a li"}
	for name, run := range readers(t, w) {
		got := new(transcript)
		for item, err := range run.Follow(t.Context(), journal.FollowOptions{}) {
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			got.add(item)
			if item.Output != nil {
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if diff := cmp.Diff(want, got.entries); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestFollowReportsALostEndOfALog(t *testing.T) {
	runs := t.TempDir()
	pass(t, runs, "r1")
	if err := os.Truncate(filepath.Join(runs, "r1", "logs", "build.log"), 3); err != nil {
		t.Fatal(err)
	}
	var tr transcript
	var damaged *journal.DamagedLogError
	for item, err := range open(t, filepath.Join(runs, "r1")).Follow(t.Context(), journal.FollowOptions{}) {
		if errors.As(err, &damaged) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		tr.add(item)
	}
	want := []string{"run_started", "step_started build", "build: out", "step_finished build passed", "run_finished passed"}
	if diff := cmp.Diff(want, tr.entries); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if damaged == nil || damaged.Have != 3 || damaged.Want != 10 {
		t.Errorf("the error is %v", damaged)
	}
}

// TestFollowReadsNoFurtherThanTheJournalTells holds for a log that somebody
// else has written to.
func TestFollowReadsNoFurtherThanTheJournalTells(t *testing.T) {
	runs := t.TempDir()
	pass(t, runs, "r1")
	appendTo(t, filepath.Join(runs, "r1", "logs", "build.log"), "alien")
	want := []string{"run_started", "step_started build", "build: out of r1\n", "step_finished build passed", "run_finished passed"}
	if diff := cmp.Diff(want, follow(t, open(t, filepath.Join(runs, "r1")), journal.FollowOptions{}).entries); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// TestFollowForgetsATornLine has a reader see a part of a line that then gives
// way to another, as after a write that failed halfway.
func TestFollowForgetsATornLine(t *testing.T) {
	w := create(t, t.TempDir(), "r1")
	add(t, w, runStarted("a"))
	appendTo(t, filepath.Join(w.Dir(), "journal.ndjson"), `{"type":"notice","seq":2,"message":"xx`)
	next, stop := iter.Pull2(open(t, w.Dir()).Follow(t.Context(), journal.FollowOptions{}))
	defer stop()
	if _, err, _ := next(); err != nil {
		t.Fatal(err)
	}
	add(t, w, started("a"))
	if item, err, _ := next(); err != nil || item.Event.Type != journal.StepStarted {
		t.Errorf("%v, %v", item.Event, err)
	}
}

// TestCloseWakesReaders closes writers while their readers wait for news.
func TestCloseWakesReaders(t *testing.T) {
	for range 30 {
		w := create(t, t.TempDir(), "r1")
		add(t, w, runStarted("a"), started("a"))
		got, ended := make(chan struct{}), make(chan error)
		go func() {
			var last error
			for item, err := range w.Run().Follow(t.Context(), journal.FollowOptions{}) {
				if last = err; err == nil && item.Event.Type == journal.StepStarted {
					close(got)
				}
			}
			ended <- last
		}()
		<-got
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
}
