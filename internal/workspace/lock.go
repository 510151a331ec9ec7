package workspace

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/strata-ci/strata/internal/filelock"
)

// lockFile opens path, makes it if it is not there, and locks it, waiting for
// other holders until ctx ends. Closing the file, or the process's death, unlocks it.
func lockFile(ctx context.Context, path string, mode filelock.Mode) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the workspace's state: %w", err)
	}
	if err := filelock.LockContext(ctx, f, mode); err != nil {
		closeErr := f.Close()
		if ctx.Err() != nil {
			return nil, errors.Join(ctx.Err(), closeErr)
		}
		return nil, fmt.Errorf("lock the workspace's state: %w", errors.Join(err, closeErr))
	}
	return f, nil
}
