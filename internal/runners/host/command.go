package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/strata-ci/strata/runner"
)

// spec is a command, ready to be executed.
type spec struct {
	path string   // the program's file
	argv []string // with the program's name as it was given
	env  []string
	dir  string // absolute
}

// newSpec resolves the step's command. All errors are of KindStart.
func newSpec(in runner.ExecutorInput, room *room) (spec, error) {
	s := spec{argv: in.Step.Command.Argv(), dir: room.workspace()}
	var err error
	if in.Dir != "" {
		if s.dir, err = stepDir(room.workspace(), in.Dir); err != nil {
			return spec{}, startError("enter the step's directory", err)
		}
	}
	if s.env, err = environment(in.Env, room); err != nil {
		return spec{}, runner.AsInfra("make the step's environment", err)
	}
	if s.path, err = lookPath(s.argv[0], s.dir, s.env); err != nil {
		return spec{}, startError("start the command", err)
	}
	return s, nil
}

func startError(op string, err error) error {
	return &runner.InfraError{Op: op, Kind: runner.KindStart, Err: err}
}

// stepDir returns the absolute path of dir in the workspace.
func stepDir(workspace, dir string) (string, error) {
	local, err := filepath.Localize(dir)
	if err != nil {
		return "", fmt.Errorf("%q is not a directory in the workspace", dir)
	}
	abs := filepath.Join(workspace, local)
	info, err := os.Stat(abs)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("the directory %q does not exist in the workspace", dir)
	}
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "", fmt.Errorf("%q is not a directory", dir)
	}
	return abs, nil
}

// environment returns env with what the machine decides where env does not:
//
//	PATH    the caller's: the machine's tools are the step's tools
//	HOME    the caller's, with its caches and credentials; if that is not a
//	        writable directory, an empty one that ends with the step
//	TMPDIR  an empty directory that ends with the step
func environment(env []string, room *room) ([]string, error) {
	env = slices.Clone(env)
	if _, ok := lookupEnv(env, "PATH"); !ok {
		env = append(env, "PATH="+os.Getenv("PATH"))
	}
	if _, ok := lookupEnv(env, homeVariable); !ok {
		home := os.Getenv(homeVariable)
		if !writableDir(home) {
			home = room.home()
			if err := os.Mkdir(home, 0o700); err != nil {
				return nil, err
			}
		}
		env = append(env, homeVariable+"="+home)
	}
	for _, name := range tmpVariables {
		if _, ok := lookupEnv(env, name); !ok {
			env = append(env, name+"="+room.tmp())
		}
	}
	return addSystemEnv(env), nil
}

// lookupEnv returns the variable's value; the last one counts, as in os/exec.
func lookupEnv(env []string, name string) (string, bool) {
	for _, kv := range slices.Backward(env) {
		if k, v, ok := strings.Cut(kv, "="); ok && sameVariable(k, name) {
			return v, true
		}
	}
	return "", false
}

// lookPath finds a program as a shell in dir with that environment would.
func lookPath(name, dir string, env []string) (string, error) {
	if name == "" {
		return "", errors.New("the command's name is empty")
	}
	if strings.ContainsRune(name, filepath.Separator) || strings.Contains(name, "/") {
		if filepath.IsAbs(name) {
			return findProgram(name, env)
		}
		return findProgram(filepath.Join(dir, filepath.FromSlash(name)), env)
	}
	path, _ := lookupEnv(env, "PATH")
	var denied error
	for _, entry := range filepath.SplitList(path) {
		if !filepath.IsAbs(entry) {
			entry = filepath.Join(dir, entry)
		}
		found, err := findProgram(filepath.Join(entry, name), env)
		if err == nil {
			return found, nil
		}
		if !errors.Is(err, fs.ErrNotExist) && denied == nil {
			denied = err
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", missingProgram(name, path)
}
