//go:build !linux

package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// reflink reports that there is no way to share blocks here.
func reflink(_, _ *os.File) bool { return false }

// syncTree writes dir with all that is in it to the disk.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			return syncDir(path)
		}
		if !e.Type().IsRegular() {
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}
