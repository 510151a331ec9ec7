package filelock_test

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/strata-ci/strata/internal/filelock"
)

const holdVariable = "STRATA_TEST_HOLD_LOCK"

// TestMain makes this program hold a lock until it is killed, where asked to.
func TestMain(m *testing.M) {
	path := os.Getenv(holdVariable)
	if path == "" {
		os.Exit(m.Run())
	}
	if _, err := filelock.Open(path, filelock.Exclusive); err != nil {
		panic(err)
	}
	os.Stdout.WriteString("locked\n")
	select {}
}

func TestModes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	for _, tt := range []struct {
		held, asked filelock.Mode
		want        bool
	}{
		{filelock.Shared, filelock.Shared, true},
		{filelock.Shared, filelock.Exclusive, false},
		{filelock.Exclusive, filelock.Shared, false},
		{filelock.Exclusive, filelock.Exclusive, false},
	} {
		holder := open(t, path, tt.held)
		other := openOnly(t, path)
		if got := try(t, other, tt.asked); got != tt.want {
			t.Errorf("mode %d while mode %d is held: locked is %v, want %v", tt.asked, tt.held, got, tt.want)
		}
		if err := errors.Join(holder.Close(), other.Close()); err != nil {
			t.Fatal(err)
		}
		last := openOnly(t, path)
		if !try(t, last, filelock.Exclusive) {
			t.Error("closing the file does not unlock it")
		}
		last.Close()
	}
}

func TestLockWaitsForTheHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	holder := open(t, path, filelock.Exclusive)
	waiter := openOnly(t, path)
	defer waiter.Close()
	done := make(chan error)
	go func() { done <- filelock.Lock(waiter, filelock.Exclusive) }()
	select {
	case err := <-done:
		t.Fatalf("Lock returned %v while the lock was held", err)
	default:
	}
	holder.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestAKilledProcessHoldsNoLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(self)
	child.Env = append(os.Environ(), holdVariable+"="+path)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	f := openOnly(t, path)
	defer f.Close()
	if try(t, f, filelock.Shared) {
		t.Error("another process's lock does not count")
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // killed
	if err := filelock.Lock(f, filelock.Exclusive); err != nil {
		t.Error(err)
	}
}

func TestRemoveLeavesNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if err := filelock.Remove(open(t, path, filelock.Exclusive)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
}

func TestErrorsNameTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	f := openOnly(t, path)
	f.Close()
	if err := filelock.Lock(f, filelock.Shared); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("the error is %v", err)
	}
}

func open(t *testing.T, path string, mode filelock.Mode) *os.File {
	t.Helper()
	f, err := filelock.Open(path, mode)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func openOnly(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func try(t *testing.T, f *os.File, mode filelock.Mode) bool {
	t.Helper()
	locked, err := filelock.Try(f, mode)
	if err != nil {
		t.Fatal(err)
	}
	return locked
}
