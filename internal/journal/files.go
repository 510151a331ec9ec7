package journal

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/strata-ci/strata/internal/filelock"
)

// The files of a runs directory. A run's directory holds its journal and the
// logs of its steps. Until the run is known to have ended, there is a marker for
// it: an empty file, named as the run is, that the writing process keeps locked.
// A marker that nobody holds a lock on belongs to a process that died. Markers
// have one directory, so that they cost nothing for runs that have ended.
const (
	journalName = "journal.ndjson"
	logsName    = "logs"
	damagedName = "damaged" // in a run's directory: what its marker becomes when a dead run's journal cannot be read
	gateName    = ".lock"   // held while runs are made, repaired or removed
	liveName    = ".live"   // directory of the markers
	trashName   = ".trash"  // directory of the runs that are being removed
)

// Journals and logs may hold what a user would not show to others.
const (
	dirMode  = 0o700
	fileMode = 0o600
)

var nameRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// checkName refuses names of steps and runs that would not be safe in a path.
func checkName(kind, name string) error {
	if !nameRE.MatchString(name) {
		return fmt.Errorf("%.80q is not the name of a %s: letters, digits, '.', '_' and '-', at most 64, the first a letter or digit", name, kind)
	}
	return nil
}

// reservedNames are devices on Windows whatever their extension is; see
// "Naming Files, Paths, and Namespaces" in Microsoft's documentation.
var reservedNames = []string{
	"con", "prn", "aux", "nul",
	"com0", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9",
	"lpt0", "lpt1", "lpt2", "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
}

// logFile returns the path of a step's log within its run's directory. Two
// names never share a file, also where the file system ignores case: an
// upper-case letter is written as '=' and the lower-case one. A name that
// Windows reserves gets "==" before it.
func logFile(step string) (string, error) {
	if err := checkName("step", step); err != nil {
		return "", err
	}
	var b strings.Builder
	for _, c := range []byte(step) {
		if 'A' <= c && c <= 'Z' {
			b.WriteByte('=')
			c += 'a' - 'A'
		}
		b.WriteByte(c)
	}
	name := b.String()
	if base, _, _ := strings.Cut(name, "."); slices.Contains(reservedNames, base) {
		name = "==" + name
	}
	return filepath.Join(logsName, name+".log"), nil
}

// openGate makes the runs directory and locks it against others that make,
// repair or remove runs. Closing the file opens the gate again.
func openGate(runsDir string) (*os.File, error) {
	if err := os.MkdirAll(runsDir, dirMode); err != nil {
		return nil, fmt.Errorf("make the directory of runs: %w", err)
	}
	return filelock.Open(filepath.Join(runsDir, gateName), filelock.Exclusive)
}

// marker returns the path of a run's marker.
func marker(runDir string) string {
	return filepath.Join(filepath.Dir(runDir), liveName, filepath.Base(runDir))
}

// alive reports whether the process that writes the run still lives.
func alive(runDir string) (bool, error) {
	f, err := os.Open(marker(runDir))
	if os.IsNotExist(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	free, err := filelock.Try(f, filelock.Shared)
	return !free, err
}
