//go:build linux

package container

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/runner"
)

// fullBelow is the free space, in bytes, below which a file system counts as
// full: a few blocks may be left that no file fits into.
const fullBelow = 128 << 10

// diskFull returns an error if the file system of the steps' layers is full.
// Then a command that failed says nothing about itself.
func (m *machine) diskFull() error {
	var fs unix.Statfs_t
	if err := unix.Statfs(m.dir, &fs); err != nil {
		return runner.AsInfra("look for free space in "+m.dir, err)
	}
	if fs.Bavail*uint64(fs.Bsize) >= fullBelow {
		return nil
	}
	return &runner.InfraError{
		Op: "run the command", Kind: runner.KindDiskFull,
		Err: fmt.Errorf("the file system of %s is full: %w", m.dir, unix.ENOSPC),
	}
}
