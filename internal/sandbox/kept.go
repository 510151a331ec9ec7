//go:build linux

package sandbox

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A mount of an overlay costs more than everything else that a command needs
// (it makes, renames and removes files to find out what the file system can
// do). Most commands change nothing in most directories, so an overlay stays
// mounted in the cell and is cloned for each command, until one changes it or
// the next one wants another in its place.

// keptMount is an overlay that stays mounted in the cell's own namespace.
type keptMount struct {
	upper string
	fresh unix.Stat_t // of upper, right after the mount
}

// mountKept mounts the overlays to be kept that are not mounted yet. The
// working directory must be base, if that is set.
func (w *world) mountKept(mounts []Mount, base string) error {
	for _, m := range mounts {
		k, there := w.kept[m.Keep]
		if m.Keep == "" || there && k.upper == m.Upper {
			continue
		}
		if there {
			if err := w.dropKept(m.Keep); err != nil {
				return err
			}
		}
		target := filepath.Join(w.keptDir, m.Keep)
		if err := os.Mkdir(target, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return asError(StageMount, "mount /"+m.Target, err)
		}
		if err := mountOne(m, target, base); err != nil {
			return err
		}
		k = keptMount{upper: m.Upper}
		if err := unix.Stat(m.Upper, &k.fresh); err != nil {
			return asError(StageMount, "mount /"+m.Target, err)
		}
		w.kept[m.Keep] = k
	}
	return nil
}

func (w *world) dropKept(name string) error {
	delete(w.kept, name)
	if err := unix.Unmount(filepath.Join(w.keptDir, name), 0); err != nil {
		return asError(StageMount, "unmount /"+name, err)
	}
	return nil
}

// dropChanged unmounts the kept overlays that have been changed.
func (w *world) dropChanged() (changed []string, err error) {
	for name, k := range w.kept {
		same, err := k.unchanged()
		if err != nil {
			return changed, asError(StageMount, "look for changes", err)
		}
		if same {
			continue
		}
		if err := w.dropKept(name); err != nil {
			return changed, err
		}
		changed = append(changed, name)
	}
	return changed, nil
}

// unchanged reports whether the upper directory is as the mount left it. Any
// change below it would first have made an entry in it.
func (k keptMount) unchanged() (bool, error) {
	var now unix.Stat_t
	if err := unix.Stat(k.upper, &now); err != nil {
		return false, err
	}
	if now.Ctim != k.fresh.Ctim || now.Mtim != k.fresh.Mtim {
		return false, nil
	}
	dir, err := os.Open(k.upper)
	if err != nil {
		return false, err
	}
	defer dir.Close()
	_, err = dir.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	return false, err
}
