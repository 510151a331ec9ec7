//go:build linux

package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// job is a command with what it takes to start it.
type job struct {
	Spec
	stdout, stderr *os.File
	doors          []*os.File // of the command's group; none for none
	unified        bool       // doors are of cgroup version 2
	askFork        func(listener *os.File) error
}

func (j job) close() { closeAll(append(j.doors, j.stdout, j.stderr)) }

// run runs one command in new namespaces and ends everything that it started.
func (w *world) run(j job) (Result, error) {
	defer j.close()
	if j.Base != "" {
		if err := unix.Chdir(j.Base); err != nil {
			return Result{}, asError(StageMount, "enter "+j.Base, err)
		}
	}
	if err := w.mountKept(j.Mounts, j.Base); err != nil {
		return Result{}, err
	}
	type end struct {
		result Result
		err    error
	}
	ended := make(chan end)
	go onNewThread(func() {
		result, err := w.runOnThread(j)
		ended <- end{result, err}
	})
	var reminding sync.WaitGroup
	done := make(chan struct{})
	reminding.Go(func() { w.remind(done) })
	e := <-ended
	close(done)
	reminding.Wait()
	changed, err := w.dropChanged()
	e.result.Changed = changed
	return e.result, errors.Join(e.err, err)
}

// onNewThread runs f on a thread that ends with it. So f may change the
// thread's namespaces, its bounding set, its filter and its groups. The main
// thread will not do: it lives as long as the process, whose memory counts
// where the main thread is.
func onNewThread(f func()) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		f() // never unlocked, so the thread ends with this goroutine
		return
	}
	defer runtime.UnlockOSThread()
	done := make(chan struct{})
	go func() { // on another thread, as this one is taken
		defer close(done)
		runtime.LockOSThread()
		f()
	}()
	<-done
}

func (w *world) runOnThread(j job) (Result, error) {
	flags := unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
	if j.PrivateNetwork {
		flags |= unix.CLONE_NEWNET
	}
	if err := unix.Unshare(flags); err != nil {
		return Result{}, asError(StageMount, "make namespaces", err)
	}
	if err := w.buildRoot(j.Spec); err != nil {
		return Result{}, errors.Join(err, w.leave())
	}
	result, err := w.execute(j)
	return result, errors.Join(err, w.leave())
}

// execute runs the command in the root that the thread is in now.
func (w *world) execute(j job) (Result, error) {
	if err := unix.Sethostname([]byte(j.Hostname)); err != nil {
		return Result{}, asError(StageLimit, "set the host name", err)
	}
	if j.PrivateNetwork {
		if err := loopbackUp(); err != nil {
			return Result{}, asError(StageLimit, "bring up the loopback device", err)
		}
	}
	if err := checkDir(j.Dir); err != nil {
		return Result{}, err
	}
	program, err := lookPath(j.Argv[0], j.Env, j.Dir)
	if err != nil {
		return Result{}, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return Result{}, asError(StageStart, "open /dev/null", err)
	}
	defer null.Close()
	attr := &syscall.ProcAttr{
		Dir:   j.Dir,
		Env:   j.Env,
		Files: []uintptr{null.Fd(), j.stdout.Fd(), j.stderr.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	pid, err := w.start(j, program, attr)
	if err != nil {
		return Result{}, err
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
