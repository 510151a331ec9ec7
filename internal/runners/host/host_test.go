package host_test

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/strata-ci/strata/internal/runners/host"
	"github.com/strata-ci/strata/runner"
	"github.com/strata-ci/strata/runner/runnertest"
)

func TestMain(m *testing.M) {
	host.Supervise()
	os.Exit(m.Run())
}

func TestConformance(t *testing.T) {
	dirs := newStateDirs()
	unix := runtime.GOOS != "windows"
	adds := []string{"TMPDIR"}
	if !unix {
		adds = []string{"TMP", "TEMP", "USERPROFILE", "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT"}
	}
	runnertest.Run(t, func(t testing.TB, grace time.Duration) runner.StepRunner {
		return dirs.newRunner(t, grace)
	}, runnertest.Properties{
		Signals:   unix,
		Daemons:   runtime.GOOS == "linux",
		Snapshots: true,
		Modes:     unix,
		Symlinks:  unix,
		HardLinks: unix,
		FIFOs:     unix,
		Adds:      adds,
		Leftovers: dirs.leftovers,
		Usage:     dirs.usage,
		Reopen:    dirs.reopen,
		Damage:    dirs.damage,
	})
}
