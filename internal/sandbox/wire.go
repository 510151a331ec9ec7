//go:build linux

package sandbox

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// The two processes talk over a stream socket in frames: kind, length,
// payload. Descriptors travel with a frame's first byte.

type frameKind byte

const (
	frameRun       frameKind = 'r' // to the cell: request, with two descriptors and those of a group
	frameTry       frameKind = 'm' // to the cell: Mount
	frameTerminate frameKind = 't' // to the cell: ask all processes to end
	frameKill      frameKind = 'k' // to the cell: end all processes
	frameReady     frameKind = 'R' // from the cell: it can take commands
	frameFork      frameKind = 'f' // from the cell, at most once per command: see letFork
	frameResult    frameKind = 'x' // from the cell: outcome
)

const (
	headerSize = 5
	// maxFrame bounds a frame's payload. The kernel itself limits a command's
	// arguments and environment to 6 MiB with the usual stack limit: execve(2).
	maxFrame = 16 << 20
	minFds   = 2 // of frameRun: the command's streams
	maxFds   = 5 // and one for each controller
)

type frame struct {
	kind    frameKind
	payload []byte
	files   []*os.File
}

// request is the payload of frameRun.
type request struct {
	Spec    Spec
	Unified bool // the group, if there is one, is of cgroup version 2
}

// outcome is the payload of frameReady and frameResult, which answers frameRun and frameTry.
type outcome struct {
	Result Result
	Error  *Error
}

func send(conn *net.UnixConn, kind frameKind, payload any, files ...*os.File) error {
	buf := bytes.NewBuffer(make([]byte, headerSize, 4096))
	if payload != nil {
		// Not JSON: names, arguments and environments may be any bytes.
		if err := gob.NewEncoder(buf).Encode(payload); err != nil {
			return err
		}
	}
	size := buf.Len() - headerSize
	if size > maxFrame {
		return fmt.Errorf("the command and its environment are too large: %d bytes, the limit is %d", size, maxFrame)
	}
	msg := buf.Bytes()
	msg[0] = byte(kind)
	binary.BigEndian.PutUint32(msg[1:], uint32(size))
	var oob []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		oob = unix.UnixRights(fds...)
	}
	n, _, err := conn.WriteMsgUnix(msg, oob, nil)
	if err != nil {
		return err
	}
	if n < len(msg) {
		_, err = conn.Write(msg[n:])
	}
	return err
}

func receive(conn *net.UnixConn) (frame, error) {
	var header [headerSize]byte
	oob := make([]byte, unix.CmsgSpace(maxFds*4))
	n, oobn, _, _, err := conn.ReadMsgUnix(header[:], oob)
	if err != nil {
		return frame{}, err
	}
	if n == 0 {
		return frame{}, io.EOF
	}
	f := frame{}
	if f.files, err = filesFrom(oob[:oobn]); err != nil {
		return f, err
	}
	if _, err := io.ReadFull(conn, header[n:]); err != nil {
		return f, err
	}
	f.kind = frameKind(header[0])
	size := binary.BigEndian.Uint32(header[1:])
	if size > maxFrame {
		return f, fmt.Errorf("a message of %d bytes is over the limit", size)
	}
	f.payload = make([]byte, size)
	_, err = io.ReadFull(conn, f.payload)
	return f, err
}

// decode reads a payload.
func (f frame) decode(v any) error { return gob.NewDecoder(bytes.NewReader(f.payload)).Decode(v) }

func filesFrom(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return files, err
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "output"))
		}
	}
	return files, nil
}
