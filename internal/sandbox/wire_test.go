//go:build linux

package sandbox

import (
	"bytes"
	"io"
	"net"
	"os"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// pair returns the two ends of a socket like that of a cell.
func pair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	conns := make([]*net.UnixConn, len(fds))
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "end")
		conn, err := net.FileConn(f)
		must(t, err)
		must(t, f.Close())
		conns[i] = conn.(*net.UnixConn)
		t.Cleanup(func() { conn.Close() })
	}
	return conns[0], conns[1]
}

func TestFramesAreKept(t *testing.T) {
	a, b := pair(t)
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	sent := request{Unified: true, Spec: Spec{
		Argv: []string{"\xff\xfe", "", strings.Repeat("x", 1<<20)}, Env: []string{"A=\xf0"}, Dir: "/\x80", Limits: Limits{CPUs: 0.5, Memory: 1, Processes: 2},
		Mounts: []Mount{{Target: "a\nb", Lowers: []string{"l"}, ReadOnly: true}},
	}}
	failed := make(chan error, 1)
	go func() {
		err := send(a, frameRun, sent, w)
		w.Close()
		failed <- err
	}()
	f, err := receive(b)
	must(t, err)
	must(t, <-failed)
	var got request
	must(t, f.decode(&got))
	if f.kind != frameRun || !reflect.DeepEqual(got, sent) || len(f.files) != 1 {
		t.Errorf("kind %c, %d files, %.200v", f.kind, len(f.files), got)
	}
	_, err = f.files[0].WriteString("x")
	must(t, err)
	closeAll(f.files)
	if text, err := io.ReadAll(r); string(text) != "x" || err != nil {
		t.Errorf("through the pipe: %q, %v", text, err)
	}
}

func TestTooLargeRequest(t *testing.T) {
	a, _ := pair(t)
	err := send(a, frameRun, request{Spec: Spec{Argv: []string{strings.Repeat("x", maxFrame+1)}}})
	if err == nil || !strings.Contains(err.Error(), "the command and its environment are too large") {
		t.Error(err)
	}
}

func FuzzReceive(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("r\x00\x00\x00\x00"))
	f.Add([]byte("x\xff\xff\xff\xff"))
	f.Add([]byte("x\x00\x00\x00\x09short"))
	f.Add([]byte("x\x00\x00\x00\x04\x03\xff\x80\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return // more than a socket holds
		}
		a, b := pair(t)
		_, err := a.Write(data)
		must(t, err)
		must(t, a.Close())
		frame, err := receive(b)
		if err != nil {
			return
		}
		if len(data) < headerSize+len(frame.payload) || !bytes.Equal(data[headerSize:headerSize+len(frame.payload)], frame.payload) {
			t.Errorf("%q was read as %q", data, frame.payload)
		}
		var o outcome
		_ = frame.decode(&o) // must only not panic
		var r request
		_ = frame.decode(&r) // as above
	})
}

func FuzzControlMessages(f *testing.F) {
	f.Add([]byte{})
	f.Add(unix.UnixRights())
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00\x00\x00\x01\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if messages, err := unix.ParseSocketControlMessage(data); err == nil && len(messages) > 0 {
			return // it may name descriptors of this process
		}
		if files, err := filesFrom(data); err == nil && len(files) > 0 {
			t.Errorf("%d files from %q", len(files), data)
		}
	})
}
