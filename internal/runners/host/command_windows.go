package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const homeVariable = "USERPROFILE"

var tmpVariables = []string{"TMP", "TEMP"}

// sameVariable ignores case, as Windows does.
func sameVariable(a, b string) bool { return strings.EqualFold(a, b) }

// systemVariables are what Windows programs need to start at all: to find the
// system's libraries and command interpreter.
var systemVariables = []string{"SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT"}

// addSystemEnv adds the system's own variables where they are missing, and HOME
// for the tools that come with a Unix shell.
func addSystemEnv(env []string) []string {
	for _, name := range systemVariables {
		if _, ok := lookupEnv(env, name); !ok {
			if value, ok := os.LookupEnv(name); ok {
				env = append(env, name+"="+value)
			}
		}
	}
	if _, ok := lookupEnv(env, "HOME"); !ok {
		home, _ := lookupEnv(env, homeVariable)
		env = append(env, "HOME="+home)
	}
	return env
}

// writableDir reports whether dir is a directory; its access list is not looked at.
func writableDir(dir string) bool {
	info, err := os.Stat(dir)
	return err == nil && info.IsDir()
}

// findProgram returns path, completed by one of the extensions of PATHEXT, if
// it is a file.
func findProgram(path string, env []string) (string, error) {
	extensions, ok := lookupEnv(env, "PATHEXT")
	if !ok {
		extensions = ".COM;.EXE;.BAT;.CMD"
	}
	candidates := []string{}
	if filepath.Ext(path) != "" {
		candidates = append(candidates, path)
	}
	for ext := range strings.SplitSeq(extensions, ";") {
		candidates = append(candidates, path+ext)
	}
	for _, candidate := range candidates {
		if info, err := os.Stat(candidate); err == nil && !info.IsDir() {
			return candidate, nil
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", &fs.PathError{Op: "find", Path: path, Err: fs.ErrNotExist}
}

func missingProgram(name, path string) error {
	if name == "sh" {
		return errors.New("there is no shell \"sh\" in PATH: install Git for Windows and add its usr\\bin directory to PATH, or write the command as a list of arguments")
	}
	return fmt.Errorf("there is no program %q in PATH (%s): install it, or add its directory to PATH in the step's env", name, path)
}
