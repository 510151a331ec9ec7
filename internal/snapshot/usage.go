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

// Usage returns the disk blocks that layers and forks of all processes occupy,
// each inode counted once.
func (s *Store) Usage() (pipeline.Bytes, error) {
	if err := s.Wait(); err != nil {
		return 0, err
	}
	u := usage{seen: map[inode]bool{}}
	for _, pattern := range []string{filepath.Join(s.layersDir(), "*"), filepath.Join(s.liveDir(), livePrefix+"*", "*", "*")} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return 0, err
		}
		for _, path := range paths {
			if err := u.add(path); err != nil {
				return 0, err
			}
		}
	}
	return u.total, nil
}

type inode struct{ dev, ino uint64 }

type usage struct {
	seen  map[inode]bool
	total pipeline.Bytes
}

// add adds path with all below it. What a step removes meanwhile counts as nothing.
func (u *usage) add(path string) error {
	err := u.addPresent(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (u *usage) addPresent(path string) error {
	st, err := lstat(path)
	if err != nil {
		return err
	}
	if id := (inode{st.Dev, st.Ino}); !u.seen[id] {
		u.seen[id] = true
		u.total += pipeline.Bytes(st.Blocks * 512) // st_blocks counts units of 512 bytes: stat(2)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	return unlocked(path, readable, func() error {
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
	})
}
