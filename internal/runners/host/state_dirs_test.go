package host_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/strata-ci/strata/internal/runners/host"
	"github.com/strata-ci/strata/runner"
)

// stateDirs knows the state directories of runners.
type stateDirs struct{ byRunner sync.Map }

func newStateDirs() *stateDirs { return &stateDirs{} }

func (d *stateDirs) newRunner(t testing.TB, grace time.Duration) *host.Runner {
	t.Helper()
	dir := t.TempDir()
	return d.open(t, dir, grace)
}

// open returns a runner with that state directory.
func (d *stateDirs) open(t testing.TB, dir string, grace time.Duration) *host.Runner {
	t.Helper()
	r, err := host.New(host.Options{StateDir: dir, Grace: grace})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	d.byRunner.Store(r, dir)
	return r
}

func (d *stateDirs) dir(r runner.StepRunner) string {
	dir, _ := d.byRunner.Load(r)
	return dir.(string)
}

// reopen returns another runner over the state of r.
func (d *stateDirs) reopen(t testing.TB, r runner.StepRunner) runner.StepRunner {
	return d.open(t, d.dir(r), 0)
}

// damage damages a kept snapshot so that a check of that depth finds it.
func (d *stateDirs) damage(t testing.TB, r runner.StepRunner, part string, depth runner.CheckDepth) {
	dir := filepath.Join(d.dir(r), "snapshots", part)
	if err := damage(dir, depth); err != nil {
		t.Fatal(err)
	}
}

func damage(dir string, depth runner.CheckDepth) error {
	switch depth {
	case runner.CheckExists:
		return os.RemoveAll(dir)
	case runner.CheckFiles:
		return os.WriteFile(filepath.Join(dir, "workspace", "d", "added"), nil, 0o600)
	}
	file := filepath.Join(dir, "workspace", "d", "file")
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(file, make([]byte, info.Size()), 0), os.Chtimes(file, info.ModTime(), info.ModTime()))
}

// leftovers lists the entries of the state directory's collections.
func (d *stateDirs) leftovers(r runner.StepRunner) []string {
	var left []string
	for _, pattern := range []string{"steps/*", "snapshots/*", "owners/*/*"} {
		found, _ := filepath.Glob(filepath.Join(d.dir(r), pattern))
		left = append(left, found...)
	}
	return left
}

// usage sums up the sizes of all files.
func (d *stateDirs) usage(r runner.StepRunner) int64 {
	var sum int64
	_ = filepath.WalkDir(d.dir(r), func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			sum += info.Size()
		}
		return nil
	})
	return sum
}
