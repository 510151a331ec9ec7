package journal_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/runner"
)

// smallDisk returns a directory on a file system of its own, with 64 KiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		if os.Geteuid() == 0 {
			t.Fatal(err)
		}
		t.Skip("a small file system can be mounted by root only: run the tests as root")
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill writes a file until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	err := os.WriteFile(path, make([]byte, 1<<20), 0o600)
	if !runner.IsDiskFull(err) {
		t.Fatalf("the disk is not full: %v", err)
	}
}

func TestFullDisk(t *testing.T) {
	disk := smallDisk(t)
	w := create(t, disk, "r1")
	add(t, w, runStarted("a", "b"), started("a"), started("b"))
	write(t, w, "a", "before\n")
	ballast := filepath.Join(disk, "ballast")
	fill(t, ballast)

	log, err := w.Log("a")
	if err != nil {
		t.Fatal(err)
	}
	output := []byte(strings.Repeat("0123456789abcdef", 1024))
	n, err := log.Write(output)
	if !runner.IsDiskFull(err) || !strings.Contains(err.Error(), disk) {
		t.Fatalf("the output was written, or the error does not say where: %v", err)
	}
	big := journal.Event{Type: journal.Notice, Message: strings.Repeat("x", 16<<10)}
	if err := w.Append(big); !runner.IsDiskFull(err) || !strings.Contains(err.Error(), disk) {
		t.Fatalf("the event was written, or the error does not say where: %v", err)
	}
	readLines(t, w.Dir()) // nothing torn

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if _, err := log.Write([]byte("after")); err == nil {
		t.Error("a log goes on behind output that is lost")
	}
	write(t, w, "b", "fine\n")
	add(t, w, big, finished("a", journal.InfraFailed), finished("b", journal.Passed), runFinished(journal.InfraFailed))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, run := range readers(t, w) {
		events, err := run.Events()
		if err != nil {
			t.Fatal(err)
		}
		checkSeq(t, events)
		tr := follow(t, run, journal.FollowOptions{})
		if got, want := tr.output["a"].String(), "before\n"+string(output[:n]); got != want {
			t.Errorf("%s: %d bytes of output instead of %d", name, len(got), len(want))
		}
		if got := tr.output["b"].String(); got != "fine\n" {
			t.Errorf("%s: the output of b is %q", name, got)
		}
	}
}

func TestFullDiskAtTheStart(t *testing.T) {
	disk := smallDisk(t)
	runs := filepath.Join(disk, "runs")
	w := create(t, runs, "r1")
	fill(t, filepath.Join(disk, "ballast"))
	if err := w.Append(runStarted("a")); !runner.IsDiskFull(err) {
		t.Errorf("Append: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if got, err := journal.Recover(runs, clock(), nothing); err != nil || len(got) != 0 {
		t.Errorf("recovered %v, %v", got, err)
	}
}

// TestRecoverOnAFullDisk leaves the run for a later start.
func TestRecoverOnAFullDisk(t *testing.T) {
	disk := smallDisk(t)
	w := create(t, disk, "r1")
	add(t, w, runStarted("a"), started("a"))
	pad := journal.Event{Type: journal.Notice, Message: ""}
	for end := fileSize(t, w) % int64(os.Getpagesize()); int64(os.Getpagesize())-end > 150; end = fileSize(t, w) % int64(os.Getpagesize()) {
		add(t, w, pad) // up to the end of a page, so that the next event needs a new one
	}
	die(t, w, "")
	ballast := filepath.Join(disk, "ballast")
	fill(t, ballast)
	if _, err := journal.Recover(disk, clock(), nothing); !runner.IsDiskFull(err) {
		t.Fatalf("the error is %v", err)
	}
	readLines(t, w.Dir())
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if got, err := journal.Recover(disk, clock(), nothing); err != nil || len(got) != 1 {
		t.Errorf("recovered %v, %v", got, err)
	}
	events, err := w.Run().Events()
	if err != nil {
		t.Fatal(err)
	}
	if state := journal.Fold(events); state.Status() != journal.Interrupted {
		t.Errorf("the run ended as %q", state.Status())
	}
}

func fileSize(t *testing.T, w *journal.Writer) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(w.Dir(), "journal.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
