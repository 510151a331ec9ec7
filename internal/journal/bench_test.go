package journal_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/strata-ci/strata/internal/journal"
)

// BenchmarkOutput sends a log of 256 MiB, in pieces as a pipe gives them, to
// the file and through a reader that follows.
func BenchmarkOutput(b *testing.B) {
	const size = 256 << 20
	piece := bytes.Repeat([]byte("0123456789abcdef"), 2<<10) // 32 KiB
	for _, reader := range []string{"none", "own process", "other process"} {
		b.Run(reader, func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			runs := b.TempDir()
			for i := 0; b.Loop(); i++ {
				w := benchRun(b, runs, i)
				got := make(chan int64, 1)
				if reader == "none" {
					got <- size
				} else {
					run := w.Run()
					if reader == "other process" {
						run = mustOpen(b, w.Dir())
					}
					go func() { got <- countOutput(b, run) }()
				}
				log, err := w.Log("a")
				if err != nil {
					b.Fatal(err)
				}
				for range size / len(piece) {
					if _, err := log.Write(piece); err != nil {
						b.Fatal(err)
					}
				}
				benchEnd(b, w)
				if n := <-got; n != size {
					b.Fatalf("%d bytes of %d came through", n, size)
				}
				b.StopTimer() // the disk is not what is measured
				os.RemoveAll(w.Dir())
				w.Close()
				b.StartTimer()
			}
		})
	}
}

// BenchmarkShortWrites measures one short line of output.
func BenchmarkShortWrites(b *testing.B) {
	w := benchRun(b, b.TempDir(), 0)
	log, err := w.Log("a")
	if err != nil {
		b.Fatal(err)
	}
	line := []byte("ok  	github.com/strata-ci/strata/internal/journal	0.5s\n")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := log.Write(line); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	os.RemoveAll(w.Dir())
	w.Close()
}

// BenchmarkRun measures the whole life of the journal of a run of 20 steps,
// the wait for the disk at its end included.
func BenchmarkRun(b *testing.B) {
	runs := b.TempDir()
	for i := 0; b.Loop(); i++ {
		w := benchRun(b, runs, i)
		for s := range 20 {
			step := fmt.Sprintf("s%d", s)
			events := []journal.Event{started(step), finished(step, journal.Passed)}
			if err := w.Append(events[0]); err != nil {
				b.Fatal(err)
			}
			log, err := w.Log(step)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := log.Write([]byte("hello\n")); err != nil {
				b.Fatal(err)
			}
			if err := w.Append(events[1]); err != nil {
				b.Fatal(err)
			}
		}
		benchEnd(b, w)
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStart measures what every start pays for 1,000 earlier runs.
func BenchmarkStart(b *testing.B) {
	runs := b.TempDir()
	for i := range 1000 {
		dir := filepath.Join(runs, fmt.Sprintf("r%04d", i))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "journal.ndjson"), []byte(firstLine), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, err := journal.Recover(runs, clock(), nothing); err != nil {
			b.Fatal(err)
		}
	}
}

func benchRun(b *testing.B, runs string, i int) *journal.Writer {
	b.Helper()
	w, err := journal.Create(runs, fmt.Sprintf("r%d", i), clock())
	if err != nil {
		b.Fatal(err)
	}
	for _, e := range []journal.Event{runStarted("a"), started("a")} {
		if err := w.Append(e); err != nil {
			b.Fatal(err)
		}
	}
	return w
}

func benchEnd(b *testing.B, w *journal.Writer) {
	b.Helper()
	for _, e := range []journal.Event{finished("a", journal.Passed), runFinished(journal.Passed)} {
		if err := w.Append(e); err != nil {
			b.Fatal(err)
		}
	}
}

func mustOpen(b *testing.B, dir string) *journal.Run {
	b.Helper()
	run, err := journal.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	return run
}

func countOutput(b *testing.B, run *journal.Run) (n int64) {
	for item, err := range run.Follow(b.Context(), journal.FollowOptions{}) {
		if err != nil {
			b.Error(err)
		}
		if item.Output != nil {
			n += int64(len(item.Output.Data))
		}
	}
	return n
}
