package host

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// Supervise does nothing on Windows: a job object ends the process tree, also
// when Strata dies.
func Supervise() {}

// tree is a command's process tree: a job object. Its processes are killed when
// its last handle is closed.
type tree struct {
	command *exec.Cmd
	job     windows.Handle
}

// startTree starts the command in a job of its own. The lock is not needed.
func startTree(s spec, stdout, stderr, _ *os.File) (*tree, error) {
	job, err := newJob()
	if err != nil {
		return nil, runner.AsInfra("make the step's job object", err)
	}
	cmd := &exec.Cmd{
		Path: s.path, Args: s.argv, Env: s.env, Dir: s.dir, Stdout: stdout, Stderr: stderr,
		// Suspended until it is in the job, so that no child escapes; a group
		// of its own, so that Ctrl-C is for Strata alone.
		SysProcAttr: &syscall.SysProcAttr{CreationFlags: windows.CREATE_SUSPENDED | windows.CREATE_NEW_PROCESS_GROUP},
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(startError("start the command", err), windows.CloseHandle(job))
	}
	t := &tree{command: cmd, job: job}
	if err := t.assignAndResume(); err != nil {
		killErr := cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		return nil, runner.AsInfra("put the command into its job object", errors.Join(err, killErr, windows.CloseHandle(job)))
	}
	return t, nil
}

func newJob() (windows.Handle, error) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return 0, os.NewSyscallError("CreateJobObject", err)
	}
	var info windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	info.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
	_, err = windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)))
	if err != nil {
		return 0, errors.Join(os.NewSyscallError("SetInformationJobObject", err), windows.CloseHandle(job))
	}
	return job, nil
}

func (t *tree) assignAndResume() error {
	pid := uint32(t.command.Process.Pid)
	process, err := windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE, false, pid)
	if err != nil {
		return os.NewSyscallError("OpenProcess", err)
	}
	defer windows.CloseHandle(process)
	if err := windows.AssignProcessToJobObject(t.job, process); err != nil {
		return os.NewSyscallError("AssignProcessToJobObject", err)
	}
	return resumeThreads(pid)
}

// resumeThreads resumes the threads of a process that was started suspended.
func resumeThreads(pid uint32) error {
	snapshot, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPTHREAD, 0)
	if err != nil {
		return os.NewSyscallError("CreateToolhelp32Snapshot", err)
	}
	defer windows.CloseHandle(snapshot)
	var entry windows.ThreadEntry32
	entry.Size = uint32(unsafe.Sizeof(entry))
	for err = windows.Thread32First(snapshot, &entry); err == nil; err = windows.Thread32Next(snapshot, &entry) {
		if entry.OwnerProcessID != pid {
			continue
		}
		thread, err := windows.OpenThread(windows.THREAD_SUSPEND_RESUME, false, entry.ThreadID)
		if err != nil {
			return os.NewSyscallError("OpenThread", err)
		}
		_, err = windows.ResumeThread(thread)
		if err := errors.Join(err, windows.CloseHandle(thread)); err != nil {
			return os.NewSyscallError("ResumeThread", err)
		}
	}
	if !errors.Is(err, windows.ERROR_NO_MORE_FILES) {
		return os.NewSyscallError("Thread32Next", err)
	}
	return nil
}

// terminate sends Ctrl-Break to the command's group: the only signal of
// Windows that can be sent to others. Not every program hears it.
func (t *tree) terminate() {
	_ = windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(t.command.Process.Pid))
}

// killedCode is the exit code of killed processes. Windows has no signals: it
// is what the C runtime's abort gives.
const killedCode = 3

// kill ends all processes of the job.
func (t *tree) kill() { _ = windows.TerminateJobObject(t.job, killedCode) }

// wait waits for the command, and kills what it leaves behind.
func (t *tree) wait() (ending, error) {
	waitErr := t.command.Wait()
	t.kill()
	for t.waitForSome() {
	}
	var exit *exec.ExitError
	if waitErr != nil && !errors.As(waitErr, &exit) {
		return ending{ExitCode: -1}, runner.AsInfra("wait for the command", errors.Join(waitErr, windows.CloseHandle(t.job)))
	}
	state := t.command.ProcessState
	end := ending{ExitCode: state.ExitCode(), Usage: t.usage()}
	if err := windows.CloseHandle(t.job); err != nil {
		return end, runner.AsInfra("close the command's job object", err)
	}
	return end, nil
}

// waitForSome waits for processes of the job, which have been killed, to be
// gone, and reports whether it had any to wait for.
func (t *tree) waitForSome() bool {
	// JOBOBJECT_BASIC_PROCESS_ID_LIST. A longer list comes in pieces.
	var list struct {
		Assigned, Listed uint32
		IDs              [256]uintptr
	}
	err := windows.QueryInformationJobObject(t.job, windows.JobObjectBasicProcessIdList,
		uintptr(unsafe.Pointer(&list)), uint32(unsafe.Sizeof(list)), nil)
	if err != nil && !errors.Is(err, windows.ERROR_MORE_DATA) {
		return false
	}
	waited := false
	for _, id := range list.IDs[:min(int(list.Listed), len(list.IDs))] {
		process, err := windows.OpenProcess(windows.SYNCHRONIZE, false, uint32(id))
		if err != nil {
			continue // it is gone
		}
		event, err := windows.WaitForSingleObject(process, windows.INFINITE)
		waited = waited || err == nil && event == windows.WAIT_OBJECT_0
		_ = windows.CloseHandle(process)
	}
	return waited
}

// usage asks the job what its processes used; see
// JOBOBJECT_BASIC_ACCOUNTING_INFORMATION. Times are in units of 100 ns.
func (t *tree) usage() runner.Usage {
	var extended windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	var u runner.Usage
	if windows.QueryInformationJobObject(t.job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&extended)), uint32(unsafe.Sizeof(extended)), nil) == nil {
		u.PeakMemory = pipeline.Bytes(extended.PeakProcessMemoryUsed)
	}
	var times struct {
		User, Kernel, PeriodUser, PeriodKernel    int64
		PageFaults, Processes, Active, Terminated uint32
	}
	if windows.QueryInformationJobObject(t.job, windows.JobObjectBasicAccountingInformation,
		uintptr(unsafe.Pointer(&times)), uint32(unsafe.Sizeof(times)), nil) == nil {
		u.UserTime = time.Duration(times.User) * 100
		u.SystemTime = time.Duration(times.Kernel) * 100
	}
	return u
}
