package cache

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/strata-ci/strata/internal/filelock"
	"github.com/strata-ci/strata/runner"
)

// Failures returns all kept failures, the newest first, without their parts.
func (c *Cache) Failures(ctx context.Context) (list []Failure, err error) {
	rows, err := c.db.QueryContext(ctx, `SELECT runner, ref, project, pipeline, step, run FROM failures ORDER BY seq DESC`)
	if err != nil {
		return nil, c.db.Explain(err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what went wrong
	for rows.Next() {
		var f Failure
		if err := rows.Scan(&f.Runner, &f.Ref, &f.Step.Project, &f.Step.Pipeline, &f.Step.Step, &f.Run); err != nil {
			return nil, c.db.Explain(err)
		}
		list = append(list, f)
	}
	return list, c.db.Explain(rows.Err())
}

// Forget gives a kept failure up. Its snapshot leaves with the next collection.
func (c *Cache) Forget(ctx context.Context, f Failure) error {
	return c.db.Update(ctx, func(tx *sql.Tx) error { return forgetFailure(ctx, tx, snapshot{f.Runner, f.Ref}) })
}

// Tidy removes what a killed process may have left of the cache's files: claims
// that nobody holds, and logs that no result names, but for those that keep
// accepts: results that a living run may be about to write down. It returns what
// it removed.
func (c *Cache) Tidy(ctx context.Context, keep func(runner.SnapshotRef) bool) (removed []string, err error) {
	claims, err := filepath.Glob(filepath.Join(c.locks(), "*"))
	if err != nil {
		return nil, err
	}
	for _, path := range claims {
		gone, err := removeUnheld(path)
		if err != nil {
			return removed, fmt.Errorf("remove a claim that nobody holds: %w", err)
		}
		if gone {
			removed = append(removed, path)
		}
	}
	logs, err := filepath.Glob(filepath.Join(c.logs(), "*", "*"))
	if err != nil {
		return removed, err
	}
	for _, path := range logs {
		name, ref := filepath.Base(filepath.Dir(path)), runner.SnapshotRef(filepath.Base(path))
		if keep(ref) {
			continue
		}
		unnamed, err := c.Unnamed(ctx, name, []runner.SnapshotRef{ref})
		if err == nil && len(unnamed) > 0 {
			err = os.Remove(path)
			removed = append(removed, path)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return removed, fmt.Errorf("remove a log that no result has: %w", err)
		}
	}
	return removed, nil
}

// removeUnheld removes the file of a claim, unless somebody holds it.
func removeUnheld(path string) (gone bool, err error) {
	lock, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	free, err := filelock.Try(lock, filelock.Exclusive)
	if err != nil || !free {
		return false, errors.Join(err, lock.Close())
	}
	same, err := isAt(lock, path)
	if err != nil || !same {
		return false, errors.Join(err, lock.Close())
	}
	return true, filelock.Remove(lock)
}
