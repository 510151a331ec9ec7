package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// copyTree copies the contents of src into the existing directory dst: contents,
// modes, times, owners, symlinks, hard links and special files; not sockets,
// which mean nothing without their process. modes overrides the modes of
// entries, by path in the tree.
func copyTree(ctx context.Context, src, dst string, modes map[string]fs.FileMode) error {
	info, err := os.Lstat(src)
	if err != nil {
		return err
	}
	return newCopier(ctx, src, dst, modes).directory(".", info)
}

func newCopier(ctx context.Context, src, dst string, modes map[string]fs.FileMode) *copier {
	return &copier{ctx: ctx, src: src, dst: dst, modes: modes, links: map[fileID]string{}}
}

// copier copies entries from one tree to another.
type copier struct {
	ctx      context.Context
	src, dst string
	modes    map[string]fs.FileMode
	links    map[fileID]string // first copies of files with several names
}

// directory copies what is in the directory rel, whose copy exists, and then
// its attributes.
func (c *copier) directory(rel string, info fs.FileInfo) error {
	entries, err := os.ReadDir(filepath.Join(c.src, rel))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if err := c.entry(filepath.Join(rel, e.Name()), info); err != nil {
			return err
		}
	}
	return c.attributes(rel, info)
}

// entry copies one entry of a directory with all that is below it.
func (c *copier) entry(rel string, info fs.FileInfo) error {
	if info.Mode()&fs.ModeSocket != 0 {
		return nil
	}
	src, dst := filepath.Join(c.src, rel), filepath.Join(c.dst, rel)
	id, linked := linkedFile(info)
	if first, ok := c.links[id]; linked && ok {
		return os.Link(first, dst)
	}
	if linked {
		c.links[id] = dst
	}
	var err error
	switch {
	case info.IsDir():
		if err := os.Mkdir(dst, 0o700); err != nil {
			return err
		}
		return c.directory(rel, info)
	case info.Mode().IsRegular():
		err = copyFile(src, dst)
	case info.Mode()&fs.ModeSymlink != 0:
		err = copySymlink(src, dst)
	default:
		err = copySpecial(dst, info)
	}
	if err != nil {
		return err
	}
	return c.attributes(rel, info)
}

// attributes gives the copy of rel its owner, mode and times, in this order:
// a change of owner takes the set-user-ID bit away.
func (c *copier) attributes(rel string, info fs.FileInfo) error {
	dst := filepath.Join(c.dst, rel)
	if err := copyOwner(dst, info); err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink == 0 {
		mode, ok := c.modes[rel]
		if !ok {
			mode = info.Mode()
		}
		if err := os.Chmod(dst, mode); err != nil {
			return err
		}
	}
	return copyTimes(dst, info)
}

// copyFile copies a regular file's contents, as a reference where the file
// system can share blocks.
func copyFile(src, dst string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if !reflink(out, in) {
		if _, err = io.Copy(out, in); err != nil {
			err = fmt.Errorf("copy %s: %w", src, err)
		}
	}
	return errors.Join(err, out.Close())
}

func copySymlink(src, dst string) error {
	target, err := os.Readlink(src)
	if err != nil {
		return err
	}
	return os.Symlink(target, dst)
}
