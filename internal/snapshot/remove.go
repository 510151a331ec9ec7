//go:build linux

package snapshot

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// RemoveTree removes path and all below it, also below directories whose mode
// forbids that to their owner. A path that does not exist is no error.
func RemoveTree(path string) error {
	err := os.RemoveAll(path)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	// A directory's children can only be reached after its mode is mended, which
	// WalkDir's function may do before WalkDir reads it.
	walkErr := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(p, 0o700)
		}
		return nil
	})
	if err := os.RemoveAll(path); err != nil {
		return errors.Join(err, walkErr)
	}
	return nil
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) }
