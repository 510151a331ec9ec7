package workspace

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/strata-ci/strata/internal/fault"
)

// copyBuffer is the size of the reads of a copy, in bytes.
const copyBuffer = 128 << 10

// copyPiece is how much the kernel is asked to copy before it is seen whether
// the copy is still wanted, in bytes: some tenths of a second on a slow disk.
const copyPiece = 64 << 20

// copier copies the contents of files, sharing blocks where the file system
// can, until its context ends. It may be used by many goroutines.
type copier struct {
	ctx     context.Context
	noClone atomic.Bool // a clone failed: it is not tried again
	buffers sync.Pool   // of *[]byte
}

func newCopier(ctx context.Context) *copier {
	c := &copier{ctx: ctx}
	c.buffers.New = func() any { return new(make([]byte, copyBuffer)) }
	return c
}

// clone makes dst share the blocks of src, if that is possible.
func (c *copier) clone(dst, src *os.File) bool {
	if c.noClone.Load() {
		return false
	}
	if err := clone(dst, src); err != nil {
		c.noClone.Store(true)
		return false
	}
	return true
}

// copyAndHash copies all of src to dst, which is empty, and digests what dst has
// then. It fails with errSize if that is not size bytes.
func (c *copier) copyAndHash(dst, src *os.File, size int64) (digest, error) {
	if c.clone(dst, src) {
		return c.hash(nil, dst, size)
	}
	return c.hash(dst, src, size)
}

var errSize = errors.New("its size is not what its stat says")

// hash digests src and copies it to dst, unless that is nil.
func (c *copier) hash(dst, src *os.File, size int64) (d digest, err error) {
	buf := c.buffers.Get().(*[]byte)
	defer c.buffers.Put(buf)
	h := sha256.New()
	for total := int64(0); ; {
		if err := c.ctx.Err(); err != nil { // a file may take minutes
			return d, err
		}
		n, err := src.Read(*buf)
		if total += int64(n); total > size {
			return d, errSize
		}
		if n > 0 {
			h.Write((*buf)[:n])
		}
		if n > 0 && dst != nil {
			if _, err := dst.Write((*buf)[:n]); err != nil {
				return d, err
			}
		}
		if errors.Is(err, io.EOF) {
			if total < size {
				return d, errSize
			}
			h.Sum(d[:0])
			return d, nil
		}
		if err != nil {
			return d, err
		}
	}
}

// copyFile copies a file of a layer to dst, which does not exist.
func (c *copier) copyFile(src, dst string, st *stat, sync bool) error {
	in, err := openRegular(src)
	if err != nil {
		return err
	}
	defer in.Close()
	return createFile(dst, st, sync, func(out *os.File) error {
		if c.clone(out, in) {
			return nil
		}
		for {
			if err := c.ctx.Err(); err != nil {
				return err
			}
			if _, err := io.CopyN(out, in, copyPiece); err != nil {
				return ignoreEOF(err)
			}
		}
	})
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// createFile makes a file with the mode and time of st, or none if it fails.
func createFile(path string, st *stat, sync bool, fill func(*os.File) error) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err = fault.Point("workspace: copy a file"); err == nil {
		err = fill(f)
	}
	if err == nil {
		err = f.Chmod(fileMode(st, 0o400))
	}
	if err == nil && sync {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = setTimes(path, st.mtime)
	}
	if err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// fileMode is the mode of a copy. What a user could read thanks to other bits
// than the owner's is now his own, and he has to be able to read it again.
func fileMode(st *stat, ownerNeeds uint32) fs.FileMode {
	perm := st.perm()
	if os.Geteuid() > 0 {
		perm |= ownerNeeds
	}
	mode := fs.FileMode(perm & 0o777)
	if perm&0o1000 != 0 {
		mode |= fs.ModeSticky
	}
	return mode
}

// createLink makes a symlink with the time of st.
func createLink(target, path string, st *stat) error {
	if err := os.Symlink(target, path); err != nil {
		return err
	}
	return setTimes(path, st.mtime)
}

// finishDirs sets modes and times of a directory and those below it that the
// filter lets through, the deepest first, after all else is in them.
func finishDirs(n *node, path string, filter func(*node) bool) error {
	for i := range n.kids {
		kid := &n.kids[i]
		if !kid.isDir() || !filter(kid) {
			continue
		}
		if err := finishDirs(kid, filepath.Join(path, kid.name), filter); err != nil {
			return err
		}
	}
	if err := os.Chmod(path, fileMode(&n.stat, 0o500)); err != nil {
		return err
	}
	return setTimes(path, n.stat.mtime)
}

// writeTree writes the tree below n into dir, an existing empty directory. The
// files are in the directories from, by the layers of their nodes.
func (c *copier) writeTree(ctx context.Context, workers int, n *node, from []string, dir string) error {
	type item struct {
		n    *node
		path string
	}
	err := spread(ctx, workers, item{n, ""}, func(it item, push func(item)) error {
		for i := range it.n.kids {
			kid := &it.n.kids[i]
			path := filepath.Join(it.path, kid.name)
			dst := filepath.Join(dir, path)
			var err error
			switch kid.stat.kind() {
			case typeDir:
				if err = os.Mkdir(dst, 0o700); err == nil {
					push(item{kid, path})
				}
			case typeLink:
				err = createLink(kid.target, dst, &kid.stat)
			default:
				err = c.copyFile(filepath.Join(from[kid.layer], path), dst, &kid.stat, false)
			}
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return finishDirs(n, dir, func(*node) bool { return true })
}

// writeFile writes a new file, synced to disk if asked for.
func writeFile(path string, data []byte, sync bool) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	part, failed := fault.Cut("workspace: write a file", data)
	_, err = f.Write(part)
	err = errors.Join(err, failed)
	if err == nil && sync {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
