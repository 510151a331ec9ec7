//go:build linux

package snapshot

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/strata-ci/strata/pipeline"
)

// Usage returns the disk blocks that the store's files occupy, each inode
// counted once.
func (s *Store) Usage() (pipeline.Bytes, error) {
	type inode struct{ dev, ino uint64 }
	seen := map[inode]bool{}
	var total pipeline.Bytes
	err := filepath.WalkDir(s.dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil // removed meanwhile, or closed by a step: its own block still counts
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return &os.PathError{Op: "stat", Path: d.Name(), Err: errors.ErrUnsupported}
		}
		if id := (inode{st.Dev, st.Ino}); !seen[id] {
			seen[id] = true
			total += pipeline.Bytes(st.Blocks * 512) // st_blocks counts units of 512 bytes: stat(2)
		}
		return nil
	})
	return total, err
}
