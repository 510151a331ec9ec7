package workspace

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"github.com/strata-ci/strata/internal/fault"
)

// index is what one capture leaves for the next.
type index struct {
	// scanned is when the scan that made it began. A file that changed at that
	// time or later is not to be trusted by its stat: see [index.racy].
	scanned instant
	// boot names the boot of the machine that wrote the layers. They are not
	// synced to disk, so that they are worth nothing after another boot.
	boot   string
	id     string   // of the capture, in hex
	layers []string // names, the bottom first
	root   *node
}

// tree returns the root of the capture; nil where there was none.
func (x *index) tree() *node {
	if x == nil {
		return nil
	}
	return x.root
}

// Slack that is added to the time of the scan before a file's stat is trusted.
// The clock that stamps files may lag behind the one that a program reads by a
// tick of the kernel, at most 10 ms (HZ=100); file systems without sub-second
// times round to up to 2 s (FAT).
const (
	fineSlack   = 20_000_000 // ns
	coarseSlack = 2          // s
)

// racy reports whether a file may have been changed after it was captured
// without a trace in its stat: git's rule, but with the inode's change time,
// which no program can set, where the platform has it. Such a file is read
// again.
func (x *index) racy(s *stat) bool {
	changed := s.ctime
	if changed == (instant{}) {
		changed = s.mtime
	}
	limit := x.scanned
	switch {
	case changed.nsec == 0:
		limit.sec -= coarseSlack
	case limit.nsec < fineSlack:
		limit.sec--
		limit.nsec += 1e9 - fineSlack
	default:
		limit.nsec -= fineSlack
	}
	return !changed.before(limit)
}

// The format: the magic line, the body, and the CRC-32C of both. Numbers are
// little-endian. The body has the time of the scan, the boot, the ID, the layers,
// the number of nodes, and the nodes: the root, then for each directory in the
// order of its own appearance its children.
const (
	indexMagic = "strata workspace index 1\n"
	indexName  = "index"
	// minNodeBytes is the size of the smallest node.
	minNodeBytes = 2 + 4 + 4 + 8 + 12 + 12 + 8 + 8 + 2
)

var errBadIndex = errors.New("the index is damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encodeIndex(x *index) []byte {
	le := binary.LittleEndian
	total := x.root.count()
	b := make([]byte, 0, 1024+total*140)
	b = append(b, indexMagic...)
	b = appendInstant(b, x.scanned)
	b = appendString(b, x.boot)
	b = appendString(b, x.id)
	b = le.AppendUint16(b, uint16(len(x.layers)))
	for _, name := range x.layers {
		b = appendString(b, name)
	}
	b = le.AppendUint32(b, uint32(total))
	b = appendNode(b, x.root)
	dirs := []*node{x.root}
	for len(dirs) > 0 {
		kids := dirs[0].kids
		dirs = dirs[1:]
		for i := range kids {
			b = appendNode(b, &kids[i])
			if kids[i].isDir() {
				dirs = append(dirs, &kids[i])
			}
		}
	}
	return le.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func appendNode(b []byte, n *node) []byte {
	le := binary.LittleEndian
	b = appendString(b, n.name)
	b = le.AppendUint32(b, n.stat.mode)
	b = le.AppendUint32(b, uint32(n.layer))
	b = le.AppendUint64(b, uint64(n.stat.size))
	b = appendInstant(b, n.stat.mtime)
	b = appendInstant(b, n.stat.ctime)
	b = le.AppendUint64(b, n.stat.ino)
	b = le.AppendUint64(b, n.stat.dev)
	switch n.stat.kind() {
	case typeLink:
		return appendString(b, n.target)
	case typeDir:
		b = append(b, byte(n.hints))
		b = le.AppendUint32(b, uint32(len(n.kids)))
	}
	return append(b, n.digest[:]...)
}

func appendInstant(b []byte, i instant) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(i.sec))
	return binary.LittleEndian.AppendUint32(b, i.nsec)
}

func appendString(b []byte, s string) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

// decodeIndex accepts only what encodeIndex can have written. It keeps data,
// which must not change afterwards.
func decodeIndex(data []byte) (*index, error) {
	body := len(data) - crc32.Size
	if body < len(indexMagic) || string(data[:len(indexMagic)]) != indexMagic {
		return nil, fmt.Errorf("%w: it has another format", errBadIndex)
	}
	if crc32.Checksum(data[:body], castagnoli) != binary.LittleEndian.Uint32(data[body:]) {
		return nil, fmt.Errorf("%w: its checksum is wrong", errBadIndex)
	}
	// All names are parts of this string. Nobody writes to data any more, and a
	// copy would cost a good part of the time that decoding takes.
	text := unsafe.String(unsafe.SliceData(data), body)
	r := &reader{data: data[:body], text: text, at: len(indexMagic)}
	x := &index{scanned: r.instant(), boot: r.str(), id: r.str()}
	x.layers = make([]string, r.u16())
	for i := range x.layers {
		x.layers[i] = r.str()
		r.check(isLayerName(x.layers[i]))
	}
	_, err := hex.DecodeString(x.id)
	r.check(err == nil && len(x.id) == 2*len(digest{}))
	nodes := r.nodes(len(x.layers))
	if r.bad || r.at != body {
		return nil, fmt.Errorf("%w: it ends too early or too late, or has impossible values", errBadIndex)
	}
	x.root = &nodes[0]
	return x, nil
}

// reader reads numbers and strings; after a fault it returns zeros.
type reader struct {
	data []byte
	text string
	at   int
	bad  bool
}

func (r *reader) check(ok bool) { r.bad = r.bad || !ok }

// next returns where the next n bytes are, or an all-zero place.
func (r *reader) next(n int) []byte {
	if r.bad || n > len(r.data)-r.at {
		r.bad = true
		return make([]byte, n)
	}
	r.at += n
	return r.data[r.at-n : r.at]
}

func (r *reader) u16() uint16 { return binary.LittleEndian.Uint16(r.next(2)) }
func (r *reader) u32() uint32 { return binary.LittleEndian.Uint32(r.next(4)) }
func (r *reader) u64() uint64 { return binary.LittleEndian.Uint64(r.next(8)) }

func (r *reader) str() string {
	n := len(r.next(int(r.u16())))
	if r.bad {
		return ""
	}
	return r.text[r.at-n : r.at]
}

func (r *reader) instant() instant {
	i := instant{int64(r.u64()), r.u32()}
	r.check(i.nsec < 1e9)
	return i
}

func (r *reader) nodes(layers int) []node {
	total := int(r.u32())
	if r.bad || total == 0 || total > (len(r.data)-r.at)/minNodeBytes {
		r.bad = true
		return nil
	}
	nodes := make([]node, total)
	counts := make([]uint32, total)
	for i := range nodes {
		counts[i] = r.node(&nodes[i], layers)
	}
	r.check(nodes[0].isDir() && nodes[0].name == "")
	next := 1
	for i := range nodes {
		n := int(counts[i])
		if r.bad || n > total-next || n > 0 && next <= i {
			r.bad = true
			return nil
		}
		nodes[i].kids = nodes[next : next+n : next+n]
		next += n
		r.check(validNames(nodes[i].kids))
	}
	r.check(next == total)
	return nodes
}

// node reads one node and returns the number of its children.
func (r *reader) node(n *node, layers int) (kids uint32) {
	n.name = r.str()
	n.stat.mode = r.u32()
	layer := r.u32()
	r.check(layer < uint32(layers))
	n.layer = int32(layer)
	n.stat.size = int64(r.u64())
	n.stat.mtime = r.instant()
	n.stat.ctime = r.instant()
	n.stat.ino = r.u64()
	n.stat.dev = r.u64()
	switch n.stat.kind() {
	case typeLink:
		n.target = r.str()
		return 0
	case typeDir:
		n.hints = hints(r.next(1)[0])
		r.check(n.hints <= maxHints)
		kids = r.u32()
	case typeRegular:
	default:
		r.bad = true
	}
	copy(n.digest[:], r.next(len(n.digest)))
	return kids
}

// validNames reports whether the names are sorted, distinct, and safe to join
// to a directory's path.
func validNames(kids []node) bool {
	prev := ""
	for i := range kids {
		name := kids[i].name
		if name <= prev || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
			return false
		}
		prev = name
	}
	return true
}

// loadIndex reads the index of a state directory: nil and no error if there is
// none, and an error that wraps errBadIndex if it is of no use.
func loadIndex(dir string) (*index, error) {
	path := filepath.Join(dir, indexName)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the workspace index: %w", err)
	}
	return decodeIndex(data)
}

// saveIndex replaces the index.
func saveIndex(dir string, x *index) error {
	if uint64(x.root.count()) > math.MaxUint32 {
		return errors.New("write the workspace index: too many entries")
	}
	path := filepath.Join(dir, indexName)
	if err := writeFile(path+tempSuffix, encodeIndex(x), x.boot == ""); err != nil {
		return fmt.Errorf("write the workspace index in %s: %w", dir, errors.Join(err, removeIfThere(path+tempSuffix)))
	}
	err := fault.Point("workspace: name an index")
	if err == nil {
		err = os.Rename(path+tempSuffix, path)
	}
	if err != nil {
		return fmt.Errorf("write the workspace index in %s: %w", dir, err)
	}
	return nil
}
