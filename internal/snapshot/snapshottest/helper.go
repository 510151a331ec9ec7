//go:build linux

package snapshottest

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/internal/sandbox"
)

// Mounts can only be made in namespaces of one's own. So the test's program is
// started once more there, as root of a user namespace like a step, and does
// what it is asked to on its standard input.

const helperArg = "snapshottest-helper"

// Main is called first in TestMain.
func Main() {
	if len(os.Args) == 2 && os.Args[1] == helperArg {
		if err := serve(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// request asks to mount a root on a directory, to change the tree at a path of
// it, and to tell what is there then. Without mounts it is about the directory.
type request struct {
	Store  string // where most mounts' paths lie
	Mounts []sandbox.Mount
	Root   string
	At     string
	Ops    []Op
}

// answer tells how each operation has ended and what there is now.
type answer struct {
	Errors []string
	Tree   Tree
	Failed string
}

func serve(in io.Reader, out io.Writer) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	unix.Umask(0o022)
	requests, answers := gob.NewDecoder(in), gob.NewEncoder(out)
	for {
		var req request
		if err := requests.Decode(&req); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		a, err := req.do()
		if err != nil {
			a.Failed = err.Error()
		}
		if err := answers.Encode(a); err != nil {
			return err
		}
	}
}

func (r request) do() (a answer, err error) {
	if r.Store != "" {
		if err := os.Chdir(r.Store); err != nil {
			return a, err
		}
	}
	for i, m := range r.Mounts {
		target := filepath.Join(r.Root, m.Target)
		if err := sandbox.Attach(m, target, r.Store); err != nil {
			return a, err
		}
		if i == 0 { // unmounts all
			defer func() { err = errors.Join(err, unix.Unmount(r.Root, unix.MNT_DETACH)) }()
		}
	}
	at := filepath.Join(r.Root, r.At)
	for _, op := range r.Ops {
		a.Errors = append(a.Errors, class(apply(at, op)))
	}
	a.Tree, err = dump(at)
	return a, err
}

// helper is the program in its namespaces.
type helper struct {
	mu       sync.Mutex
	requests *gob.Encoder
	answers  *gob.Decoder
}

func startHelper(t *testing.T) *helper {
	t.Helper()
	id := func(id int) []syscall.SysProcIDMap {
		if os.Geteuid() == 0 {
			return []syscall.SysProcIDMap{{Size: 1<<32 - 1}}
		}
		return []syscall.SysProcIDMap{{HostID: id, Size: 1}}
	}
	cmd := exec.Command("/proc/self/exe", helperArg)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: id(os.Geteuid()), GidMappings: id(os.Getegid()),
		GidMappingsEnableSetgroups: os.Geteuid() == 0,
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start a process in new namespaces (%v): %s", err, sandbox.Advice(err))
	}
	t.Cleanup(func() {
		if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
			t.Errorf("the helper: %v", err)
		}
	})
	return &helper{requests: gob.NewEncoder(in), answers: gob.NewDecoder(out)}
}

func (h *helper) ask(req request) (answer, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var a answer
	if err := h.requests.Encode(req); err != nil {
		return a, err
	}
	if err := h.answers.Decode(&a); err != nil {
		return a, err
	}
	if a.Failed != "" {
		return a, errors.New(a.Failed)
	}
	return a, nil
}
