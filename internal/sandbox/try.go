//go:build linux

package sandbox

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// TryMount mounts m out of everybody's sight, as Run would, and unmounts it. An
// *Error says why that does not work here. No command may be running.
func (c *Cell) TryMount(m Mount) error {
	if err := send(c.conn, frameTry, m); err != nil {
		c.lost = true
		return fmt.Errorf("%w (%w)", ErrLost, err)
	}
	_, err := c.outcome(receive(c.conn))
	return err
}

func (w *world) try(m Mount) error {
	if err := mountOne(m, w.newRoot, ""); err != nil {
		return err
	}
	return unix.Unmount(w.newRoot, 0)
}

// Attach mounts m on a directory in this process's mount namespace, as Run
// would. The working directory is to be base, if that is set: see [Spec].
func Attach(m Mount, target, base string) error { return mountOne(m, target, base) }
