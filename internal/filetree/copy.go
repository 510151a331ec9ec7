package filetree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Copy copies the contents of src into the existing directory dst: contents,
// modes, times, owners, user attributes, symlinks, hard links (as files of their
// own where the file system has none) and special files; not sockets, which mean
// nothing without their process. modes are those to use
// in place of src's own.
func Copy(ctx context.Context, src, dst string, modes Modes) error {
	info, err := os.Lstat(src)
	if err != nil {
		return err
	}
	return NewCopier(ctx, src, dst, modes).directory(".", info)
}

// NewCopier returns a copier from the directory src to the directory dst. modes
// are as for Copy.
func NewCopier(ctx context.Context, src, dst string, modes Modes) *Copier {
	return &Copier{ctx: ctx, src: src, dst: dst, modes: modes, links: map[fileID]string{}}
}

// Copier copies entries from one tree to another. Files that are one in the
// first tree are one in the second.
type Copier struct {
	ctx      context.Context
	src, dst string
	modes    Modes
	links    map[fileID]string // first copies of files with several names
}

// directory copies what is in the directory rel, whose copy exists, and then
// its attributes.
func (c *Copier) directory(rel string, info fs.FileInfo) error {
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
		if err := c.Entry(filepath.Join(rel, e.Name()), info); err != nil {
			return err
		}
	}
	return c.attributes(rel, info)
}

// Entry copies the entry at the path rel of the tree, which info describes,
// with all that is below it. The directory above exists in dst and has nothing
// of that name.
func (c *Copier) Entry(rel string, info fs.FileInfo) error {
	if info.Mode()&fs.ModeSocket != 0 {
		return nil
	}
	src, dst := filepath.Join(c.src, rel), filepath.Join(c.dst, rel)
	id, linked := linkedFile(info)
	if first, ok := c.links[id]; linked && ok && os.Link(first, dst) == nil {
		return nil
	}
	if linked { // or its copy can have no more names: then this is one for itself
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
		err = CopyFile(src, dst)
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
// a change of owner takes the set-user-ID bit away, and one of anything else may
// need a mode that allows it and changes times.
func (c *Copier) attributes(rel string, info fs.FileInfo) error {
	src, dst := filepath.Join(c.src, rel), filepath.Join(c.dst, rel)
	if err := copyOwner(dst, info); err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink == 0 {
		if err := CopyXattrs(src, dst); err != nil {
			return err
		}
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

// CopyFile copies a regular file's contents to the new file dst, as a reference
// where the file system can share blocks.
func CopyFile(src, dst string) error {
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
		if err = copyData(out, in); err != nil {
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
