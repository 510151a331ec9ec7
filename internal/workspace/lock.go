package workspace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/strata-ci/strata/internal/filelock"
)

// lockInterval is how often a held lock is asked for again. The system's own
// waiting call cannot be cancelled; this is far below what a person notices,
// and a capture takes longer.
const lockInterval = 5 * time.Millisecond

// lockFile opens path, makes it if it is not there, and locks it, waiting for
// other holders until ctx ends. Closing the file, or the process's death, unlocks it.
func lockFile(ctx context.Context, path string, mode filelock.Mode) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the workspace's state: %w", err)
	}
	ticker := time.NewTicker(lockInterval)
	defer ticker.Stop()
	for {
		locked, err := filelock.Try(f, mode)
		if locked {
			return f, nil
		}
		if err != nil {
			return nil, fmt.Errorf("lock the workspace's state: %w", errors.Join(err, f.Close()))
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		}
	}
}
