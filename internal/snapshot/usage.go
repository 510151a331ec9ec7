//go:build linux

package snapshot

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/pipeline"
)

// Usage returns the disk blocks that the store's files occupy, each inode
// counted once.
func (s *Store) Usage() (pipeline.Bytes, error) {
	u := usage{seen: map[inode]bool{}}
	err := u.add(s.dir)
	return u.total, err
}

type inode struct{ dev, ino uint64 }

type usage struct {
	seen  map[inode]bool
	total pipeline.Bytes
}

func (u *usage) add(path string) (err error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); errors.Is(err, fs.ErrNotExist) {
		return nil // removed meanwhile
	} else if err != nil {
		return &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	if id := (inode{st.Dev, st.Ino}); !u.seen[id] {
		u.seen[id] = true
		u.total += pipeline.Bytes(st.Blocks * 512) // st_blocks counts units of 512 bytes: stat(2)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	restore, err := unlock(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, restore()) }()
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := u.add(filepath.Join(path, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
