package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/strata-ci/strata/internal/filelock"
	"github.com/strata-ci/strata/internal/plan"
)

// Claim is the right to make the result with a key. It ends with Release, or
// with its process.
type Claim struct{ lock *os.File }

// Claim waits until nobody else, in this process or another, makes the result
// with the key, and makes sure that nobody does until Release. It calls waiting
// once if it has to wait. The error is ctx's where that ended first.
func (c *Cache) Claim(ctx context.Context, key plan.Key, waiting func()) (*Claim, error) {
	claim, err := c.claim(ctx, key.String(), waiting)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("claim the result with the key %v: %w", key, err)
	}
	return claim, err
}

func (c *Cache) claim(ctx context.Context, name string, waiting func()) (*Claim, error) {
	if err := os.MkdirAll(c.locks(), 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(c.locks(), name)
	for {
		lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		free, err := filelock.Try(lock, filelock.Exclusive)
		if err == nil && !free {
			if waiting != nil {
				waiting()
				waiting = nil
			}
			err = filelock.LockContext(ctx, lock, filelock.Exclusive)
		}
		if err != nil {
			return nil, errors.Join(err, lock.Close())
		}
		// Who held it before has removed the file: then others may hold its successor.
		same, err := isAt(lock, path)
		if same {
			return &Claim{lock}, nil
		}
		if err := errors.Join(err, lock.Close()); err != nil {
			return nil, err
		}
	}
}

// isAt reports whether an open file is the one at the path.
func isAt(f *os.File, path string) (bool, error) {
	mine, err := f.Stat()
	if err != nil {
		return false, err
	}
	now, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(mine, now), err
}

// Release ends the claim.
func (c *Claim) Release() error {
	if err := filelock.Remove(c.lock); err != nil {
		return fmt.Errorf("release the claim to a result: %w", err)
	}
	return nil
}
