package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// reserveBytes is what removing a few results takes in the records, several
// times over: each changes some twenty pages of 4 KiB.
const reserveBytes = 2 << 20

// reserve is a file that does nothing but occupy space. To remove results, they
// have to be written about in the records; on a disk that is full to the last
// block that is possible only after the file was given up.
func (c *Cache) reserve() string { return filepath.Join(c.dir, "reserve") }

// fillReserve makes the file, if there is room for it.
func (c *Cache) fillReserve() error {
	if c.hasReserve() {
		return nil
	}
	data := make([]byte, reserveBytes)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data) // never fails; nothing that a file system could compress
	if err := os.WriteFile(c.reserve(), data, 0o600); err != nil {
		return errors.Join(fmt.Errorf("keep space in reserve: %w", err), c.giveUpReserve())
	}
	return nil
}

func (c *Cache) hasReserve() bool {
	info, err := os.Stat(c.reserve())
	return err == nil && info.Size() == reserveBytes
}

func (c *Cache) giveUpReserve() error {
	if err := os.Remove(c.reserve()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("give up the space in reserve: %w", err)
	}
	return nil
}
