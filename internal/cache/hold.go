package cache

import (
	"context"
	"database/sql"
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

// Hold makes the results that are made or used from now on stay until Release, or
// until the process ends, whatever the limits say.
func (c *Cache) Hold(ctx context.Context) (*Claim, error) {
	claim, err := c.hold(ctx)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("keep results from being removed during the run: %w", err)
	}
	return claim, err
}

func (c *Cache) hold(ctx context.Context) (*Claim, error) {
	var last int64
	if err := c.db.QueryRowContext(ctx, `SELECT last FROM sequence`).Scan(&last); err != nil {
		return nil, c.db.Explain(err)
	}
	return c.claimNumber(ctx, last)
}

// Take marks results as used now, so that who holds may use them, and returns the
// keys of those that have gone since they were looked up.
func (c *Cache) Take(ctx context.Context, entries []*plan.Entry) (gone []plan.Key, err error) {
	if len(entries) == 0 {
		return nil, nil
	}
	now := c.now().UnixNano()
	err = c.db.Update(ctx, func(tx *sql.Tx) error {
		seq, err := next(ctx, tx)
		if err != nil {
			return err
		}
		mark, err := tx.PrepareContext(ctx, `UPDATE entries SET used = ?, used_at = ? WHERE key = ? AND ref = ?`)
		if err != nil {
			return err
		}
		defer mark.Close() //nolint:errcheck // it ends with the transaction
		for _, e := range entries {
			result, err := mark.ExecContext(ctx, seq, now, e.Key[:], string(e.Ref))
			if err != nil {
				return err
			}
			n, err := result.RowsAffected()
			if err != nil {
				return err
			}
			if n == 0 {
				gone = append(gone, e.Key)
			}
		}
		return nil
	})
	return gone, err
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
