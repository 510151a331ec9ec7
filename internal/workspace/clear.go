package workspace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/strata-ci/strata/internal/filelock"
)

// LastUsed returns when a project's state was last used for a capture.
func LastUsed(stateDir string) (time.Time, error) {
	info, err := os.Stat(filepath.Join(stateDir, lockName))
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

// Clear removes the captures of a project, but for those that a step may still
// see. The next capture copies everything anew. It reports false if a capture is
// being made at the moment: then it does nothing.
func Clear(stateDir string) (cleared bool, err error) {
	lock, err := os.OpenFile(filepath.Join(stateDir, lockName), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("clear captures: %w", err)
	}
	defer lock.Close()
	free, err := filelock.Try(lock, filelock.Exclusive)
	if err != nil || !free {
		return false, err
	}
	if err := removeIfThere(filepath.Join(stateDir, indexName)); err != nil {
		return false, fmt.Errorf("clear captures: %w", err)
	}
	s := &Store{dir: stateDir}
	var stats Stats
	s.sweep(nil, &stats)
	if len(stats.Notes) > 0 {
		return false, errors.New(stats.Notes[0])
	}
	return true, nil
}
