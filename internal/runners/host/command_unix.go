//go:build !windows

package host

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const homeVariable = "HOME"

var tmpVariables = []string{"TMPDIR"}

func sameVariable(a, b string) bool { return a == b }

// addSystemEnv adds nothing: a Unix program needs no variables to start.
func addSystemEnv(env []string) []string { return env }

// writableDir reports whether the user can make files in dir.
func writableDir(dir string) bool {
	info, err := os.Stat(dir)
	return err == nil && info.IsDir() && unix.Access(dir, unix.W_OK|unix.X_OK) == nil
}

// findProgram returns path if it is a file that can be executed.
func findProgram(path string, _ []string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.IsDir() {
		return "", fmt.Errorf("%s is a directory", path)
	}
	if err := unix.Access(path, unix.X_OK); err != nil {
		return "", fmt.Errorf("%s is not executable: %w", path, err)
	}
	return path, nil
}

func missingProgram(name, path string) error {
	return fmt.Errorf("there is no program %q in PATH (%s): install it, or add its directory to PATH in the step's env", name, path)
}
