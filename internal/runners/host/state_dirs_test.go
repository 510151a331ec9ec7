package host_test

import (
	"io/fs"
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
