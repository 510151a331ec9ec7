package workspace

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"time"
)

// The types in a stat's mode, with their values from POSIX systems on every
// platform, so that an index and an ID mean the same everywhere.
const (
	typeMask    = 0o170000
	typeDir     = 0o040000
	typeRegular = 0o100000
	typeLink    = 0o120000

	// permMask are the mode bits that a capture keeps. Set-user-ID and
	// set-group-ID are not among them: a capture belongs to the user who runs
	// it, so that they would grant something that nobody gave.
	permMask = 0o1777
)

// instant is a time of a file system, whose range is wider than 64 bits of
// nanoseconds.
type instant struct {
	sec  int64
	nsec uint32
}

func instantOf(t time.Time) instant { return instant{t.Unix(), uint32(t.Nanosecond())} }

func (i instant) time() time.Time { return time.Unix(i.sec, int64(i.nsec)) }

func (i instant) before(o instant) bool {
	return i.sec < o.sec || i.sec == o.sec && i.nsec < o.nsec
}

// stat is what tells that a file or directory was not changed. The size of a
// directory, and what a platform lacks, is zero.
type stat struct {
	mode     uint32
	size     int64
	mtime    instant
	ctime    instant
	ino, dev uint64
}

func (s *stat) kind() uint32 { return s.mode & typeMask }
func (s *stat) perm() uint32 { return s.mode & permMask }

// sameContent reports whether only the inode or its change time differ, as
// after a hard link was made to the file.
func (s *stat) sameContent(o *stat) bool {
	return s.mode == o.mode && s.size == o.size && s.mtime == o.mtime
}

// digest is the SHA-256 of a regular file's content.
type digest [sha256.Size]byte

// pending is the layer of a node that the next layer has to hold.
const pending = -1

// node is one file, directory or symlink of a capture.
type node struct {
	name   string // empty for the root
	stat   stat
	kids   []node // of a directory: sorted by name
	target string // of a symlink
	digest digest // of a regular file; of a directory: see ruleSet.sum
	layer  int32  // position, from the bottom, of the topmost layer that has it
	hints  hints  // of a directory
}

// hints say what a directory has besides its children.
type hints uint8

const (
	hasGitIgnore    hints = 1 << iota // a .gitignore, captured or not
	hasStrataIgnore                   // a .strataignore, captured or not
	hasSpecial                        // a socket, FIFO or device
	maxHints        = 1<<iota - 1
)

func (n *node) isDir() bool { return n != nil && n.stat.kind() == typeDir }

// kid returns the child with that name, or nil.
func (n *node) kid(name string) *node {
	if n == nil {
		return nil
	}
	i, ok := slices.BinarySearchFunc(n.kids, name, func(k node, name string) int {
		return strings.Compare(k.name, name)
	})
	if !ok {
		return nil
	}
	return &n.kids[i]
}

// names returns the names of the children.
func (n *node) names() []string {
	list := make([]string, len(n.kids))
	for i := range n.kids {
		list[i] = n.kids[i].name
	}
	return list
}

// count returns the number of nodes below n and n itself.
func (n *node) count() int {
	total := 1
	for i := range n.kids {
		total += n.kids[i].count()
	}
	return total
}

// settle compares a scanned tree with the one before it, sets the layer of
// every directory, and returns how many entries were copied anew or removed. A
// directory is pending if anything in or below it is: so a directory's layer is
// never below those of its children.
func settle(old, now *node) (changed int) {
	if !old.isDir() {
		old = nil
	}
	dirty := old == nil || !old.stat.sameContent(&now.stat)
	if old == nil || old.stat.mode != now.stat.mode {
		changed++
	}
	var left []node
	if old != nil {
		left = old.kids
	}
	for i := range now.kids {
		kid := &now.kids[i]
		for len(left) > 0 && left[0].name < kid.name {
			dirty = true
			changed += left[0].count()
			left = left[1:]
		}
		var was *node
		if len(left) > 0 && left[0].name == kid.name {
			was, left = &left[0], left[1:]
		}
		switch {
		case kid.isDir():
			changed += settle(was, kid)
		case kid.layer == pending:
			changed++
		}
		dirty = dirty || kid.layer == pending
	}
	for i := range left {
		dirty = true
		changed += left[i].count()
	}
	now.layer = pending
	if !dirty {
		now.layer = old.layer
	}
	return changed
}

// Entry is one file, directory or symlink of a capture.
type Entry struct {
	// Path is relative to the workspace, slash-separated, any bytes but NUL.
	Path string
	// Mode has the type, the permission bits and the sticky bit.
	Mode fs.FileMode
	// Size and Digest (SHA-256) are those of a regular file's content.
	Size   int64
	Digest [sha256.Size]byte
	// Target is where a symlink points.
	Target string
}

// entries yields all nodes below n: a directory before what is in it, names in
// the order of their bytes.
func (n *node) entries(dir string, yield func(Entry) bool) bool {
	for i := range n.kids {
		kid := &n.kids[i]
		path := joinPath(dir, kid.name)
		if !yield(kid.entry(path)) || !kid.entries(path, yield) {
			return false
		}
	}
	return true
}

func (n *node) entry(path string) Entry {
	e := Entry{Path: path, Mode: fs.FileMode(n.stat.mode & 0o777)}
	if n.stat.mode&0o1000 != 0 {
		e.Mode |= fs.ModeSticky
	}
	switch n.stat.kind() {
	case typeDir:
		e.Mode |= fs.ModeDir
	case typeLink:
		e.Mode |= fs.ModeSymlink
		e.Target = n.target
	default:
		e.Size, e.Digest = n.stat.size, n.digest
	}
	return e
}

// identity returns the capture's ID: a SHA-256 over every path with its type,
// mode bits and content. Times, owners and the history of layers are not in it.
func identity(root *node) string {
	h := sha256.New()
	hashNode(h, root, "", make([]byte, 0, 512))
	return hex.EncodeToString(h.Sum(nil))
}

func hashNode(h hash.Hash, n *node, path string, buf []byte) {
	mode := n.stat.mode & (typeMask | permMask)
	if n.stat.kind() == typeLink {
		mode = typeLink // a symlink's own permissions mean nothing and differ between systems
	}
	buf = binary.AppendUvarint(buf[:0], uint64(len(path)))
	buf = append(buf, path...)
	buf = binary.BigEndian.AppendUint32(buf, mode)
	switch n.stat.kind() {
	case typeRegular:
		buf = append(buf, n.digest[:]...)
	case typeLink:
		buf = binary.AppendUvarint(buf, uint64(len(n.target)))
		buf = append(buf, n.target...)
	}
	h.Write(buf)
	for i := range n.kids {
		hashNode(h, &n.kids[i], joinPath(path, n.kids[i].name), buf)
	}
}

// all is entries as an iterator.
func (n *node) all() iter.Seq[Entry] {
	return func(yield func(Entry) bool) { n.entries("", yield) }
}
