//go:build linux

package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// cellArg makes this program a cell; see [IsCell].
const cellArg = "__strata-cell"

// ErrLost says that the cell's process ended while it was needed.
var ErrLost = errors.New("the sandbox's supervising process is gone")

// Cell is a supervising process that runs one command at a time.
type Cell struct {
	cmd     *exec.Cmd
	conn    *net.UnixConn
	stderr  *bytes.Buffer
	cgroups *Cgroups // nil where the machine has no usable ones
	group   *group   // of commands without limits of their own, once there was one
	lost    bool
}

// Config says how to start a cell.
type Config struct {
	// Scratch is an existing directory that the cell covers with mounts of its
	// own, in its own mount namespace.
	Scratch string
	// Cgroups is where commands get control groups; nil for none.
	Cgroups *Cgroups
}

// Start starts a cell. An error says why this machine cannot have one.
func Start(cfg Config) (*Cell, error) {
	users, groups, setgroups, err := idMaps()
	if err != nil {
		return nil, fmt.Errorf("read which users exist here: %w", err)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket pair: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "cell")
	defer theirs.Close()
	ours := os.NewFile(uintptr(fds[0]), "cell")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, fmt.Errorf("open the cell's socket: %w", err)
	}

	c := &Cell{conn: conn.(*net.UnixConn), stderr: new(bytes.Buffer), cgroups: cfg.Cgroups}
	c.cmd = exec.Command("/proc/self/exe")
	c.cmd.Args = []string{"strata", cellArg, cfg.Scratch}
	c.cmd.Env = []string{} // the cell must know nothing of the user's environment
	c.cmd.Dir = "/"
	c.cmd.ExtraFiles = []*os.File{theirs}
	c.cmd.Stderr = c.stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:                     true,
		Cloneflags:                 unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		UidMappings:                users,
		GidMappings:                groups,
		GidMappingsEnableSetgroups: setgroups,
	}
	if err := c.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start a process in new namespaces: %w", err), conn.Close())
	}
	f, err := receive(c.conn)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the sandbox: %w", c.lostError()), c.Close())
	}
	var o outcome
	if err := f.decode(&o); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if o.Error != nil {
		return nil, errors.Join(o.Error, c.Close())
	}
	return c, nil
}

// Output is where a command's streams go. Err may be Out.
type Output struct{ Out, Err *os.File }

// Control changes a running command from outside.
type Control struct {
	Terminate <-chan struct{} // closed: ask all processes to end
	Kill      <-chan struct{} // closed: end all processes
}

// Run runs one command and returns after all its processes and mounts are
// gone. An *Error says that it could not be run; ErrLost that the cell died,
// which ends the cell's use.
func (c *Cell) Run(ctx context.Context, spec Spec, out Output, control Control) (Result, error) {
	if spec.Limits == (Limits{}) {
		if err := c.openGroup(); err != nil {
			return Result{}, err
		}
		return c.runIn(ctx, c.group, spec, out, control)
	}
	// A fresh group has no memory of earlier commands: neither files that they
	// left in memory nor processes of theirs that were killed.
	own, err := c.cgroups.newGroup(spec.Limits)
	if err != nil {
		return Result{}, asError(StageLimit, "limit the command", err)
	}
	result, err := c.runIn(ctx, own, spec, out, control)
	killed, countErr := c.cgroups.oomKills(own)
	result.OutOfMemory = killed > 0 && (result.ExitCode != 0 || result.Signal != 0)
	return result, errors.Join(err, countErr, c.cgroups.remove(own))
}

// openGroup makes the group of commands without limits of their own, which
// bounds the number of their processes.
func (c *Cell) openGroup() (err error) {
	if c.cgroups == nil || c.group != nil {
		return nil
	}
	c.group, err = c.cgroups.newGroup(Limits{})
	return err
}

func (c *Cell) runIn(ctx context.Context, g *group, spec Spec, out Output, control Control) (Result, error) {
	req := request{Spec: spec, Unified: c.cgroups != nil && c.cgroups.unified}
	files := []*os.File{out.Out, out.Err}
	if g != nil {
		files = append(files, g.doors...)
	}
	if err := send(c.conn, frameRun, req, files...); err != nil {
		c.lost = true
		return Result{}, fmt.Errorf("%w (%w)", ErrLost, err)
	}
	type answer struct {
		frame frame
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		f, err := receive(c.conn)
		if err == nil && f.kind == frameFork {
			if err = letFork(f.files); err == nil {
				f, err = receive(c.conn)
			}
		}
		answers <- answer{f, err}
	}()
	for {
		select {
		case a := <-answers:
			return c.outcome(a.frame, a.err)
		case <-control.Terminate:
			control.Terminate = nil
			_ = send(c.conn, frameTerminate, nil) // a lost cell shows as the answer's error
		case <-control.Kill:
			control.Kill = nil
			_ = send(c.conn, frameKill, nil) // as above
		case <-ctx.Done():
			// The caller has given up on an orderly end.
			_ = c.cmd.Process.Kill()
			ctx = context.Background()
		}
	}
}

func (c *Cell) outcome(f frame, err error) (Result, error) {
	var o outcome
	if err == nil {
		err = f.decode(&o)
	}
	if err != nil {
		c.lost = true
		return Result{}, c.lostError()
	}
	if o.Error != nil {
		return Result{Changed: o.Result.Changed}, o.Error
	}
	return o.Result, nil
}

// Lost reports whether the cell can take no more commands.
func (c *Cell) Lost() bool { return c.lost }

// lostError waits for the dead process and says what it said last.
func (c *Cell) lostError() error {
	c.lost = true
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait() // how it ended is in ProcessState
	if text := strings.TrimSpace(c.stderr.String()); text != "" {
		return fmt.Errorf("%w: %s: %s", ErrLost, c.cmd.ProcessState, text)
	}
	return fmt.Errorf("%w: %s", ErrLost, c.cmd.ProcessState)
}

// Close ends the cell with all that runs in it, and waits for that.
func (c *Cell) Close() error {
	err := c.conn.Close()
	if c.cmd.ProcessState == nil {
		// PID 1 takes all of its namespace with it: pid_namespaces(7).
		_ = c.cmd.Process.Kill() // it may have ended by itself meanwhile
		_ = c.cmd.Wait()         // its status is that of a killed process
	}
	if c.cgroups != nil {
		err = errors.Join(err, c.cgroups.remove(c.group))
		c.group = nil
	}
	return err
}
