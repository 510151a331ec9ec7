//go:build !linux

package filetree

import (
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// reflink reports that there is no way to share blocks here.
func reflink(_, _ *os.File) bool { return false }

func copyData(dst, src *os.File) error {
	_, err := io.Copy(dst, src)
	return err
}

// CopyXattrs does nothing: this platform's attributes are not copied.
func CopyXattrs(_, _ string) error { return nil }

// addXattrs adds nothing: this platform's attributes are not copied.
func addXattrs(hash.Hash, string) error { return nil }

// Sync writes dir with all that is in it to the disk.
func Sync(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			return SyncDir(path)
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
