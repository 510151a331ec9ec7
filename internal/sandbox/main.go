//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/signal"
	"reflect"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// IsCell reports whether the process was started to be a cell. A program that
// uses this package asks it first in main (a test in TestMain) and then calls
// [CellMain].
func IsCell(args []string) bool { return len(args) == 3 && args[1] == cellArg }

// CellMain is the cell's whole life. It never returns.
func CellMain(args []string) {
	// A command may send any signal to its PID 1. The kernel drops those without
	// a handler, and this makes the others harmless: signal(7), pid_namespaces(7).
	signal.Notify(make(chan os.Signal, 1))
	err := catchReserved()
	unix.Umask(0o022) // a command's, whatever the user's is
	// Nothing that the owner has open is the command's.
	err = errors.Join(err, unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC))
	file := os.NewFile(3, "control")
	conn, connErr := net.FileConn(file)
	err = errors.Join(err, connErr)
	if err == nil {
		err = file.Close()
	}
	if err == nil {
		err = serve(conn.(*net.UnixConn), args[2])
	}
	if err != nil && !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// catchReserved gives a handler to the signals that os/signal leaves to C
// libraries (runtime/sigtab_linux_generic.go). The kernel drops a signal without
// a handler for PID 1 only if its main thread does not block signals right then,
// as the Go runtime does now and then; else it is fatal.
func catchReserved() error {
	const first, last = 32, 34
	var action, now [4]uint64 // struct sigaction of the kernel: handler, flags, restorer, mask
	if err := sigaction(unix.SIGUSR1, nil, &action); err != nil {
		return err
	}
	action[0] = uint64(reflect.ValueOf(handled).Pointer())
	for s := unix.Signal(first); s <= last; s++ {
		if err := sigaction(s, nil, &now); err != nil {
			return err
		}
		if now[0] != 0 { // SIG_DFL
			continue
		}
		if err := sigaction(s, &action, nil); err != nil {
			return err
		}
	}
	return nil
}

// handled is a signal handler without the runtime's knowledge: nothing but a
// return, in any calling convention and on any stack.
//
//go:nosplit
//go:noinline
//go:norace
func handled() {}

func sigaction(s unix.Signal, set, old *[4]uint64) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s),
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), unsafe.Sizeof(old[3]), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// serve takes frames until the other side is gone, which ends the cell and,
// with it, everything in its PID namespace.
func serve(conn *net.UnixConn, scratch string) error {
	w, err := prepare(scratch)
	if err := send(conn, frameReady, outcome{Error: asError(StageMount, "prepare the sandbox", err)}); err != nil {
		return err
	}
	var running sync.WaitGroup
	defer running.Wait()
	for {
		f, err := receive(conn)
		if err != nil {
			os.Exit(0) // the owner is gone, and so is the use of everything here
		}
		switch f.kind {
		case frameTerminate:
			w.terminating.Store(true)
			_ = unix.Kill(-1, unix.SIGTERM) // ESRCH: nothing runs any more
		case frameKill:
			w.killing.Store(true)
			_ = unix.Kill(-1, unix.SIGKILL) // as above
		case frameTry:
			var m Mount
			if err := f.decode(&m); err != nil {
				return fmt.Errorf("a malformed request: %w", err)
			}
			if err := send(conn, frameResult, outcome{Error: asError(StageMount, "unmount what was tried", w.try(m))}); err != nil {
				return err
			}
		case frameRun:
			var req request
			if err := f.decode(&req); err != nil {
				return fmt.Errorf("a malformed request: %w", err)
			}
			if len(f.files) < minFds {
				return errors.New("a request without the command's streams")
			}
			j := job{
				Spec: req.Spec, stdout: f.files[0], stderr: f.files[1],
				doors: f.files[minFds:], unified: req.Unified,
				askFork: func(listener *os.File) error { return send(conn, frameFork, nil, listener) },
			}
			w.terminating.Store(false)
			w.killing.Store(false)
			running.Go(func() {
				result, err := w.run(j)
				if err := send(conn, frameResult, outcome{Result: result, Error: asError(StageStart, "run the command", err)}); err != nil {
					os.Exit(0)
				}
			})
		default:
			return fmt.Errorf("an unknown request %q", f.kind)
		}
	}
}
