package cache

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/strata-ci/strata/internal/filelock"
	"github.com/strata-ci/strata/internal/plan"
)

// holdPrefix begins the names of the files of holds, among those of claims. After
// it comes the number that the holder began at.
const holdPrefix = "run-"

// Hold makes results stay until Release, or until the process ends, whatever
// the limits say: those with the keys, and all that are made or used from now on.
// One of them may be gone already.
func (c *Cache) Hold(ctx context.Context, keys []plan.Key) (*Claim, error) {
	claim, err := c.hold(ctx, keys)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("keep results from being removed during the run: %w", err)
	}
	return claim, err
}

func (c *Cache) hold(ctx context.Context, keys []plan.Key) (*Claim, error) {
	var last int64
	if err := c.db.QueryRowContext(ctx, `SELECT last FROM sequence`).Scan(&last); err != nil {
		return nil, c.db.Explain(err)
	}
	claim, err := c.claimNumber(ctx, last)
	if err != nil {
		return nil, err
	}
	if err := c.touch(ctx, keys, 0); err != nil {
		return nil, errors.Join(err, claim.Release())
	}
	return claim, nil
}

// claimNumber holds a number, beside others that may have begun at the same.
func (c *Cache) claimNumber(ctx context.Context, n int64) (*Claim, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(c.locks(), 0o700); err != nil {
			return nil, err
		}
		lock, err := os.CreateTemp(c.locks(), fmt.Sprintf("%s%d-*", holdPrefix, n))
		if err != nil {
			return nil, err
		}
		locked, err := filelock.Try(lock, filelock.Exclusive)
		if err == nil && locked {
			locked, err = isAt(lock, lock.Name()) // or somebody has tidied it up
		}
		if err == nil && locked {
			return &Claim{lock}, nil
		}
		if err := errors.Join(err, lock.Close()); err != nil {
			return nil, err
		}
	}
}

// oldestHold returns the number at which the oldest living holder began. What
// was used after it stays.
func (c *Cache) oldestHold() (int64, error) {
	oldest := int64(math.MaxInt64)
	files, err := filepath.Glob(filepath.Join(c.locks(), holdPrefix+"*"))
	if err != nil {
		return 0, err
	}
	for _, path := range files {
		text, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), holdPrefix), "-")
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n >= oldest {
			continue
		}
		held, err := isHeld(path)
		if err != nil {
			return 0, fmt.Errorf("look for runs that use results: %w", err)
		}
		if held {
			oldest = n
		}
	}
	return oldest, nil
}

func isHeld(path string) (bool, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	free, err := filelock.Try(f, filelock.Shared)
	return !free, err
}
