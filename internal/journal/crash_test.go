package journal_test

import (
	"bufio"
	"crypto/rand"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/strata-ci/strata/internal/journal"
)

// crashEnv makes the test binary a process that writes runs into the directory
// that it names, until it is killed.
const crashEnv = "STRATA_JOURNAL_CRASH"

const failedCode = 3 // of that process, when it could not write

// writeUntilKilled writes one run after the other, two steps at a time, and
// says on standard output what is written once it is.
func writeUntilKilled(runsDir string) {
	for {
		w, err := journal.Create(runsDir, journal.NewRunID(time.Now(), rand.Reader), time.Now)
		must(err)
		must(w.Append(runStarted("a", "b")))
		var wg sync.WaitGroup
		for _, step := range []string{"a", "b"} {
			wg.Go(func() { writeStep(w, step) })
		}
		wg.Wait()
		must(w.Append(runFinished(journal.Passed)))
		must(w.Close())
		fmt.Println(w.RunID(), "run")
	}
}

func writeStep(w *journal.Writer, step string) {
	must(w.Append(started(step)))
	log, err := w.Log(step)
	must(err)
	for i := range 40 {
		_, err := fmt.Fprintf(log, "line %d %s\n", i, strings.Repeat("x", i*50))
		must(err)
		must(w.Append(journal.Event{Type: journal.Notice, Step: step, Message: strings.Repeat("y", 3000)}))
	}
	must(w.Append(finished(step, journal.Passed)))
	fmt.Println(w.RunID(), step, log.Size())
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(failedCode)
	}
}

// TestKilledWriter kills a process at any moment. After that every event whose
// Append had returned is there, nothing is torn, and every run has an end.
func TestKilledWriter(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	runs := t.TempDir()
	interrupted := 0
	for round := 0; round < 12 || (interrupted == 0 && round < 200); round++ {
		acknowledged := runAndKill(t, exe, runs)
		recovered, err := journal.Recover(runs, time.Now, nothing)
		if err != nil {
			t.Fatal(err)
		}
		interrupted += len(recovered)
		checkAcknowledged(t, runs, acknowledged)
	}
	for _, s := range summaries(t, runs) {
		if s.Damaged != "" || s.Live || (s.Status != journal.Passed && s.Status != journal.Interrupted) {
			t.Errorf("%+v", s)
		}
		readLines(t, filepath.Join(runs, s.ID))
		run := open(t, filepath.Join(runs, s.ID))
		tr := follow(t, run, journal.FollowOptions{})
		for step, output := range tr.output {
			if got := readLog(t, run, step); got != output.String() {
				t.Errorf("run %s: %d bytes of the log of %s were followed, of %d", s.ID, output.Len(), step, len(got))
			}
		}
	}
	if interrupted == 0 {
		t.Error("no kill hit a run: this test shows nothing")
	}
}

// runAndKill returns what the process said before it was killed.
func runAndKill(t *testing.T, exe, runs string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), crashEnv+"="+runs)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	first, err := lines.ReadString('\n') // it works
	if err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(time.Duration(mathrand.IntN(30_000))*time.Microsecond, func() { cmd.Process.Kill() })
	defer kill.Stop()
	rest, err := io.ReadAll(lines)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() == failedCode {
		t.Fatalf("the process ended by itself: %v", err)
	}
	whole := string(rest[:strings.LastIndexByte(string(rest), '\n')+1])
	return strings.Split(strings.TrimSpace(first+whole), "\n")
}

func checkAcknowledged(t *testing.T, runs string, lines []string) {
	t.Helper()
	for _, line := range lines {
		fields := strings.Fields(line)
		events, err := open(t, filepath.Join(runs, fields[0])).Events()
		if err != nil {
			t.Fatal(err)
		}
		state := journal.Fold(events)
		if fields[1] == "run" {
			if state.Status() != journal.Passed {
				t.Errorf("%s, and it ended as %s", line, state.Status())
			}
			continue
		}
		end := state.Step(fields[1]).End
		if end == nil || end.Status != journal.Passed || fmt.Sprint(end.LogBytes) != fields[2] {
			t.Errorf("%s, and the journal has %+v", line, end)
		}
	}
}
