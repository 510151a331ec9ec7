package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/strata-ci/strata/runner"
)

// stateDir returns the absolute path of the one directory that holds Strata's
// state: $STRATA_HOME, else $XDG_STATE_HOME/strata (%LocalAppData%\strata on
// Windows), else ~/.local/state/strata. It touches nothing.
//
// Below it are runs (the journals), projects (captures of workspaces),
// containers and hosts (what the runners of these names keep).
func stateDir(getenv func(string) string) (string, error) {
	if dir := getenv("STRATA_HOME"); dir != "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return "", fmt.Errorf("find the state directory %s: %w", dir, err)
		}
		return abs, nil
	}
	base, home, below := getenv("XDG_STATE_HOME"), getenv("HOME"), filepath.Join(".local", "state")
	if runtime.GOOS == "windows" {
		base, home, below = getenv("LocalAppData"), getenv("USERPROFILE"), filepath.Join("AppData", "Local")
	}
	// The XDG specification wants relative paths to be ignored.
	switch {
	case filepath.IsAbs(base):
		return filepath.Join(base, "strata"), nil
	case filepath.IsAbs(home):
		return filepath.Join(home, below, "strata"), nil
	}
	return "", errors.New("find the state directory: there is no home directory; set STRATA_HOME to a directory for Strata's state")
}

// stateDir returns the state directory, which need not exist.
func (a *app) stateDir() (string, error) { return stateDir(a.getenv) }

// makeStateDir returns the state directory and makes it, private to the user,
// where it does not exist. An error says what to do where it cannot be written.
func (a *app) makeStateDir() (string, error) {
	dir, err := a.stateDir()
	if err != nil {
		return "", err
	}
	if err := tryToWrite(dir); err != nil {
		return "", fmt.Errorf("write to the state directory %s: %w; %s", dir, plainCause(err), stateFix(dir, err))
	}
	return dir, nil
}

// stateFix says what to do about an error of using the state directory.
func stateFix(dir string, err error) string {
	switch {
	case runner.IsDiskFull(err):
		return "free some space on that file system, or set STRATA_HOME to a directory on another"
	case errors.Is(err, fs.ErrPermission):
		return "make all of " + dir + " yours, or set STRATA_HOME to a directory that can be written"
	}
	return "set STRATA_HOME to a directory that can be written"
}

func tryToWrite(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// One name for all processes: what a killed one leaves is removed by the next.
	name := filepath.Join(dir, ".probe")
	probe, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = probe.Write(make([]byte, 4096)) // a block: a full disk takes empty files
	err = errors.Join(err, probe.Close())
	_ = os.Remove(name) // another process may have done so, or have it open
	return err
}
