//go:build linux && faults

package crashtest

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
)

var (
	crashes = flag.Int("crashes", 300, "how many processes to kill at random moments")
	seed    = flag.Uint64("seed", 0, "of the random moments; 0 for a new one")
)

// programPath is where the program is once it is built, and programs how many
// names it has.
var (
	programPath string
	programs    atomic.Int64
)

// survived counts what this run of the tests did to processes.
var survived struct{ kills, failures, losses atomic.Int64 }

// TestMain builds the program once and says at the end what it has lived through.
func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(mainCode(m))
}

func mainCode(m *testing.M) int {
	dir, err := os.MkdirTemp("", "strata-crash-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	programPath = filepath.Join(dir, "strata")
	build := exec.Command("go", "build", "-tags", "faults", "-o", programPath, "../../cmd/strata")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build the program:", err)
		return 1
	}
	code := m.Run()
	fmt.Printf("crashtest: %d kills, %d failing disks and %d losses of power\n",
		survived.kills.Load(), survived.failures.Load(), survived.losses.Load())
	return code
}

func program(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("it looks at the processes and mounts of the whole machine and mounts file systems: run it as root")
	}
	// A name of its own tells one site's processes from another's.
	path := fmt.Sprintf("%s-%d", programPath, programs.Add(1))
	if err := os.Link(programPath, path); err != nil {
		t.Fatal(err)
	}
	return path
}
