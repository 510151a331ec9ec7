//go:build linux

package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// run runs one command in new namespaces and ends everything that it started.
func (w *world) run(spec Spec, stdout, stderr *os.File) (Result, error) {
	if err := w.mountKept(spec.Mounts); err != nil {
		return Result{}, err
	}
	type end struct {
		result Result
		err    error
	}
	ended := make(chan end)
	go func() {
		// The thread changes its namespaces, its bounding set and its filter. It
		// is never unlocked, so it ends with this goroutine.
		runtime.LockOSThread()
		result, err := w.runOnThread(spec, stdout, stderr)
		ended <- end{result, err}
	}()
	e := <-ended
	changed, err := w.dropChanged()
	e.result.Changed = changed
	return e.result, errors.Join(e.err, err)
}

func (w *world) runOnThread(spec Spec, stdout, stderr *os.File) (Result, error) {
	defer stdout.Close()
	defer stderr.Close()
	flags := unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
	if spec.PrivateNetwork {
		flags |= unix.CLONE_NEWNET
	}
	if err := unix.Unshare(flags); err != nil {
		return Result{}, asError(StageMount, "make namespaces", err)
	}
	if spec.Base != "" {
		if err := unix.Chdir(spec.Base); err != nil {
			return Result{}, asError(StageMount, "enter "+spec.Base, err)
		}
	}
	if err := w.buildRoot(spec); err != nil {
		return Result{}, errors.Join(err, w.leave())
	}
	result, err := w.execute(spec, stdout, stderr)
	return result, errors.Join(err, w.leave())
}

// execute runs the command in the root that the thread is in now.
func (w *world) execute(spec Spec, stdout, stderr *os.File) (Result, error) {
	if err := unix.Sethostname([]byte(spec.Hostname)); err != nil {
		return Result{}, asError(StageLimit, "set the host name", err)
	}
	if spec.PrivateNetwork {
		if err := loopbackUp(); err != nil {
			return Result{}, asError(StageLimit, "bring up the loopback device", err)
		}
	}
	if err := checkDir(spec.Dir); err != nil {
		return Result{}, err
	}
	program, err := lookPath(spec.Argv[0], spec.Env, spec.Dir)
	if err != nil {
		return Result{}, err
	}
	if err := w.dropPrivileges(spec.Nested); err != nil {
		return Result{}, asError(StageLimit, "drop privileges", err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return Result{}, asError(StageStart, "open /dev/null", err)
	}
	defer null.Close()
	pid, err := syscall.ForkExec(program, spec.Argv, &syscall.ProcAttr{
		Dir:   spec.Dir,
		Env:   spec.Env,
		Files: []uintptr{null.Fd(), stdout.Fd(), stderr.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return Result{}, asError(StageStart, "start "+spec.Argv[0], err)
	}
	// What came before there was a process has found none to tell.
	if w.terminating.Load() {
		_ = unix.Kill(-1, unix.SIGTERM) // ESRCH: it has ended
	}
	if w.killing.Load() {
		_ = unix.Kill(-1, unix.SIGKILL) // as above
	}
	return w.reap(pid)
}

// reap waits for the command, kills what it left and waits for that too. When
// all were asked to end, the others get the same time for it as the command: it
// is for the owner to kill them. The cell is PID 1, so every orphan is its
// child, and it runs nothing else.
func (w *world) reap(command int) (Result, error) {
	var result Result
	for {
		var status unix.WaitStatus
		var usage unix.Rusage
		pid, err := unix.Wait4(-1, &status, unix.WALL, &usage)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECHILD):
			return result, nil
		case err != nil:
			return Result{}, asError(StageStart, "wait for the command", err)
		}
		result.UserTime += time.Duration(usage.Utime.Nano())
		result.SystemTime += time.Duration(usage.Stime.Nano())
		result.PeakMemory = max(result.PeakMemory, usage.Maxrss*1024) // ru_maxrss is in KiB: getrusage(2)
		if pid != command {
			continue
		}
		result.ExitCode = -1
		if status.Exited() {
			result.ExitCode = status.ExitStatus()
		} else {
			result.Signal = status.Signal()
		}
		if w.terminating.Load() {
			continue
		}
		// Killing all at once leaves no moment to fork out of it.
		if err := unix.Kill(-1, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return Result{}, asError(StageStart, "end the command's processes", err)
		}
	}
}

func checkDir(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, unix.ENOENT):
		return &Error{Stage: StageStart, Detail: "the step's directory " + dir + " does not exist", Errno: unix.ENOENT}
	case err != nil:
		return asError(StageStart, "enter the step's directory "+dir, err)
	case !info.IsDir():
		return &Error{Stage: StageStart, Detail: "the step's directory " + dir + " is a file", Errno: unix.ENOTDIR}
	}
	return nil
}

// lookPath finds a program as a shell would. os/exec's own look-up uses the
// environment of this process, which is not the command's.
func lookPath(name string, env []string, dir string) (string, error) {
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return name, executable(name)
	}
	path := ""
	for _, kv := range env {
		if value, ok := strings.CutPrefix(kv, "PATH="); ok {
			path = value
		}
	}
	for _, d := range filepath.SplitList(path) {
		if !filepath.IsAbs(d) {
			d = filepath.Join(dir, d)
		}
		if p := filepath.Join(d, name); executable(p) == nil {
			return p, nil
		}
	}
	return "", &Error{Stage: StageStart, Detail: "there is no program " + name + " in the step's PATH (" + path + ")", Errno: unix.ENOENT}
}

func executable(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		err = unix.EISDIR
	}
	if err == nil {
		err = unix.Access(path, unix.X_OK)
	}
	if err != nil {
		return asError(StageStart, "start "+path, err)
	}
	return nil
}

// asError makes err an *Error, keeping one that it already is. The result is
// nil for nil.
func asError(stage Stage, detail string, err error) *Error {
	if err == nil {
		return nil
	}
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		return &Error{Stage: stage, Detail: detail, Errno: errno}
	}
	return &Error{Stage: stage, Detail: detail + ": " + err.Error()}
}
