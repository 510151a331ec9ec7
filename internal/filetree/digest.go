package filetree

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// Sum is what Digest finds out about a tree.
type Sum struct {
	// Blocks is the disk space that the tree occupies, in bytes. A file with
	// several names in it counts once.
	Blocks int64
	// Files is a digest of all that lstat(2) tells of each entry but what
	// changes although nobody changed it: inode numbers, numbers of links, times
	// of access and of status change. It holds names, types, modes, owners, times
	// of modification, sizes of regular files, device numbers and targets of
	// symlinks. Times of directories are among them: neither a rename of the
	// directory itself nor a hard link to a file in it changes one.
	Files [sha256.Size]byte
	// Contents is a digest of the same, of every file's contents, and of
	// extended attributes; zero where it was not asked for.
	Contents [sha256.Size]byte
}

// Digest sums up the directory dir with all that is in it. Equal trees have
// equal digests wherever they lie. With contents it reads every file.
func Digest(ctx context.Context, dir string, contents bool) (Sum, error) {
	info, err := os.Lstat(dir)
	if err != nil {
		return Sum{}, err
	}
	if !info.IsDir() {
		return Sum{}, fmt.Errorf("%s is not a directory", dir)
	}
	d := &digester{
		ctx: ctx, contents: contents, extra: make(chan struct{}, runtime.GOMAXPROCS(0)-1),
		counted: map[fileID]struct{}{},
	}
	sum, err := d.directory(dir, info)
	if err != nil {
		return Sum{}, err
	}
	return Sum{Blocks: d.blocks.Load(), Files: sum.files, Contents: sum.contents}, nil
}

// digester is one call of Digest.
type digester struct {
	ctx      context.Context
	contents bool
	extra    chan struct{} // holds an element for each goroutine beside the first
	blocks   atomic.Int64

	mu      sync.Mutex
	counted map[fileID]struct{} // files with several names
}

// digests are those of one entry with all that is below it.
type digests struct{ files, contents [sha256.Size]byte }

// directory sums up a directory: its own data, then all entries in the order of
// their names.
func (d *digester) directory(dir string, info fs.FileInfo) (digests, error) {
	if err := d.ctx.Err(); err != nil {
		return digests{}, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return digests{}, err
	}
	infos := make([]fs.FileInfo, len(entries))
	for i, e := range entries {
		if infos[i], err = e.Info(); err != nil {
			return digests{}, err
		}
	}
	below, err := d.below(dir, infos)
	if err != nil {
		return digests{}, err
	}
	h := newHashes(d.contents)
	if err := d.entry(h, dir, info); err != nil {
		return digests{}, err
	}
	for i, info := range infos {
		name := appendString(nil, info.Name())
		if info.IsDir() {
			h.both(append(name, 'd'))
			h.each(below[i])
			continue
		}
		h.both(append(name, 'f'))
		if err := d.entry(h, filepath.Join(dir, info.Name()), info); err != nil {
			return digests{}, err
		}
	}
	return h.sums(), nil
}

// below sums up those entries that are directories, several at a time.
func (d *digester) below(dir string, infos []fs.FileInfo) ([]digests, error) {
	sums := make([]digests, len(infos))
	var g errgroup.Group
	var first error
	for i, info := range infos {
		if !info.IsDir() || first != nil {
			continue
		}
		one := func() (err error) {
			sums[i], err = d.directory(filepath.Join(dir, info.Name()), info)
			return err
		}
		select {
		case d.extra <- struct{}{}:
			g.Go(func() error {
				defer func() { <-d.extra }()
				return one()
			})
		default:
			first = one()
		}
	}
	return sums, errors.Join(first, g.Wait())
}

// entry adds what there is to know of the entry at path itself.
func (d *digester) entry(h *hashes, path string, info fs.FileInfo) error {
	d.count(info)
	b := binary.BigEndian.AppendUint32(nil, uint32(info.Mode()))
	b = appendOwner(b, info)
	b = binary.BigEndian.AppendUint64(b, uint64(info.ModTime().Unix()))
	b = binary.BigEndian.AppendUint32(b, uint32(info.ModTime().Nanosecond()))
	switch mode := info.Mode(); {
	case mode.IsRegular():
		b = binary.BigEndian.AppendUint64(b, uint64(info.Size()))
	case mode&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		b = appendString(b, target)
	case mode&fs.ModeDevice != 0:
		b = appendDevice(b, info)
	}
	h.both(b)
	if h.contents == nil {
		return nil
	}
	if info.Mode()&fs.ModeSymlink == 0 {
		if err := addXattrs(h.contents, path); err != nil {
			return err
		}
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	return d.file(h.contents, path)
}

// count adds the entry's blocks, once for each file.
func (d *digester) count(info fs.FileInfo) {
	if id, ok := linkedFile(info); ok {
		d.mu.Lock()
		_, known := d.counted[id]
		d.counted[id] = struct{}{}
		d.mu.Unlock()
		if known {
			return
		}
	}
	d.blocks.Add(blocks(info))
}

// file adds the digest of a file's contents.
func (d *digester) file(h hash.Hash, path string) error {
	if err := d.ctx.Err(); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	own := sha256.New()
	if _, err := io.Copy(own, f); err != nil {
		return err
	}
	h.Write(own.Sum(nil))
	return nil
}

// hashes are the two digests of a directory while they are made; contents is
// nil where it is not asked for.
type hashes struct{ files, contents hash.Hash }

func newHashes(contents bool) *hashes {
	h := &hashes{files: sha256.New()}
	if contents {
		h.contents = sha256.New()
	}
	return h
}

func (h *hashes) both(b []byte) { h.each2(b, b) }

func (h *hashes) each(d digests) { h.each2(d.files[:], d.contents[:]) }

func (h *hashes) each2(files, contents []byte) {
	h.files.Write(files)
	if h.contents != nil {
		h.contents.Write(contents)
	}
}

func (h *hashes) sums() (d digests) {
	h.files.Sum(d.files[:0])
	if h.contents != nil {
		h.contents.Sum(d.contents[:0])
	}
	return d
}

// appendString appends a string so that where it ends can be told.
func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}
