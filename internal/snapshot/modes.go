//go:build linux

package snapshot

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"maps"
	"slices"

	"github.com/strata-ci/strata/internal/filetree"
)

// encodeModes writes modes as a record: for each path, in order, the mode (32
// bits, the lowest first), the path's length (a uvarint) and the path.
func encodeModes(modes filetree.Modes) []byte {
	b := []byte{}
	for _, path := range slices.Sorted(maps.Keys(modes)) {
		b = binary.LittleEndian.AppendUint32(b, uint32(modes[path]))
		b = binary.AppendUvarint(b, uint64(len(path)))
		b = append(b, path...)
	}
	return b
}

var errModes = errors.New("malformed modes")

// decodeModes reads what encodeModes writes, and nothing else.
func decodeModes(b []byte) (filetree.Modes, error) {
	if len(b) == 0 {
		return nil, nil
	}
	modes, last := filetree.Modes{}, ""
	for len(b) > 0 {
		if len(b) < 4 {
			return nil, errModes
		}
		mode := fs.FileMode(binary.LittleEndian.Uint32(b))
		size, n := binary.Uvarint(b[4:])
		if n <= 0 || size > uint64(len(b)-4-n) {
			return nil, errModes
		}
		b = b[4+n:]
		path := string(b[:size])
		if len(modes) > 0 && path <= last {
			return nil, errModes
		}
		modes[path], last, b = mode, path, b[size:]
	}
	return modes, nil
}
