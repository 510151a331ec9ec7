//go:build !windows

package host

import (
	"errors"
	"os"
)

// syncDir writes a directory's own entries to the disk.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
