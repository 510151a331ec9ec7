package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/strata-ci/strata/internal/fault"
)

// Remove removes runs, but none that lives or waits for Recover, and what a
// process that died has left half removed. It returns the IDs of the runs that
// are gone, which includes those that were gone before.
func Remove(runsDir string, ids []string) (gone []string, err error) {
	if exist, err := exists(runsDir); err != nil || !exist {
		return ids, err
	}
	gone, failed := throwAway(runsDir, ids)
	trash := filepath.Join(runsDir, trashName)
	entries, err := os.ReadDir(trash)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		failed = errors.Join(failed, err)
	}
	for _, e := range entries {
		failed = errors.Join(failed, fault.Point("journal: remove a run"), os.RemoveAll(filepath.Join(trash, e.Name())))
	}
	if failed != nil {
		failed = fmt.Errorf("remove old runs: %w", failed)
	}
	return gone, failed
}

// throwAway takes runs out of the directory in one step each, with the gate
// held, so that nobody finds half a run.
func throwAway(runsDir string, ids []string) (gone []string, failed error) {
	if len(ids) == 0 {
		return nil, nil
	}
	gate, err := openGate(runsDir)
	if err != nil {
		return nil, err
	}
	defer gate.Close()
	trash := filepath.Join(runsDir, trashName)
	if err := os.MkdirAll(trash, dirMode); err != nil {
		return nil, err
	}
	for _, id := range ids {
		thrown, err := throwAwayOne(runsDir, trash, id)
		failed = errors.Join(failed, err)
		if thrown {
			gone = append(gone, id)
		}
	}
	return gone, failed
}

func throwAwayOne(runsDir, trash, id string) (gone bool, err error) {
	if err := checkName("run", id); err != nil {
		return false, err
	}
	dir := filepath.Join(runsDir, id)
	if marked, err := exists(marker(dir)); err != nil || marked {
		return false, err
	}
	err = os.Rename(dir, filepath.Join(trash, id))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, nil
}
