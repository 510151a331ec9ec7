//go:build !windows

package filetree

import (
	"encoding/binary"
	"io/fs"
	"syscall"
)

// blockSize is the unit of st_blocks on all systems here: see stat(2).
const blockSize = 512

func blocks(info fs.FileInfo) int64 {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return st.Blocks * blockSize
}

func appendOwner(b []byte, info fs.FileInfo) []byte {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return b
	}
	b = binary.BigEndian.AppendUint32(b, st.Uid)
	return binary.BigEndian.AppendUint32(b, st.Gid)
}

func appendDevice(b []byte, info fs.FileInfo) []byte {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return b
	}
	return binary.BigEndian.AppendUint64(b, uint64(st.Rdev))
}
