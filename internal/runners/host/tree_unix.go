//go:build !windows

package host

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"github.com/strata-ci/strata/runner"
)

// tree is a command's process tree, seen from Strata: a supervisor, which is
// Strata's own program once more, starts the command and outlives all of its
// descendants. See [Supervise].
type tree struct {
	supervisor *exec.Cmd
	control    *os.File // orders to the supervisor; its end is the order to kill
	reports    *os.File // from the supervisor
	decoder    *json.Decoder
}

// Orders, each one byte on the control pipe.
const (
	orderTerminate = 'T'
	orderKill      = 'K'
)

// started is the supervisor's first report, ending the second.
type started struct {
	Errno int // why the command could not be executed; 0 if it runs
}

// startTree starts the command. The supervisor holds the lock as long as a
// process of the tree lives.
func startTree(cmd spec, stdout, stderr, lock *os.File) (*tree, error) {
	message, err := cmd.encode()
	if err != nil {
		return nil, startError("start the command", err)
	}
	t, err := startSupervisor(stdout, stderr, lock)
	if err != nil {
		return nil, runner.AsInfra("start the step's supervisor", err)
	}
	var report started
	_, err = t.control.Write(message)
	if err == nil {
		err = t.decoder.Decode(&report)
	}
	if err == nil && report.Errno == 0 {
		return t, nil
	}
	waitErr := t.close()
	if err == nil {
		return nil, startError("start the command", &os.PathError{Op: "execute", Path: cmd.path, Err: syscall.Errno(report.Errno)})
	}
	return nil, &runner.InfraError{
		Op:   "start the step's supervisor",
		Kind: runner.KindInternal,
		Err:  fmt.Errorf("%s does not answer: %w", t.supervisor.Path, errors.Join(err, waitErr)),
	}
}

func startSupervisor(stdout, stderr, lock *os.File) (*tree, error) {
	program, err := ownProgram()
	if err != nil {
		return nil, err
	}
	orders, control, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer orders.Close()
	reports, reporter, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, control.Close())
	}
	defer reporter.Close()
	cmd := &exec.Cmd{
		Path:       program,
		Args:       []string{"strata", superviseArg},
		Env:        []string{},
		Stdout:     stdout,
		Stderr:     stderr,
		ExtraFiles: []*os.File{orders, reporter, lock},
		// A session of its own: Ctrl-C at the terminal is for Strata alone,
		// which ends the step in its own way.
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, control.Close(), reports.Close())
	}
	return &tree{supervisor: cmd, control: control, reports: reports, decoder: json.NewDecoder(reports)}, nil
}

// terminate asks all processes to end. An order that cannot be delivered is
// none: the supervisor, and with it the tree, is gone.
func (t *tree) terminate() { t.order(orderTerminate) }

// kill kills all processes.
func (t *tree) kill() { t.order(orderKill) }

func (t *tree) order(b byte) { _, _ = t.control.Write([]byte{b}) }

// wait waits for the tree's end.
func (t *tree) wait() (ending, error) {
	var end ending
	reportErr := t.decoder.Decode(&end)
	if reportErr == nil {
		return end, t.close()
	}
	waitErr := t.close()
	killSession(t.supervisor.Process.Pid)
	return ending{ExitCode: -1}, &runner.InfraError{
		Op:   "wait for the command",
		Kind: runner.KindLost,
		Err:  fmt.Errorf("the step's supervisor ended too early: %w", errors.Join(reportErr, waitErr)),
	}
}

func (t *tree) close() error {
	err := t.control.Close()
	return errors.Join(t.supervisor.Wait(), err, t.reports.Close())
}

// encode returns the command as a message: its length in 4 bytes, then strings
// that each end in NUL, which none of them can hold: path, dir, the number of
// arguments, the arguments, the environment.
func (s spec) encode() ([]byte, error) {
	fields := append([]string{s.path, s.dir, strconv.Itoa(len(s.argv))}, s.argv...)
	fields = append(fields, s.env...)
	body := make([]byte, 4)
	for _, f := range fields {
		if strings.ContainsRune(f, 0) {
			return nil, errors.New("the command or its environment contains a NUL byte")
		}
		body = append(append(body, f...), 0)
	}
	if len(body) > maxMessage {
		return nil, fmt.Errorf("the command and its environment are %d bytes long; %d are possible", len(body), maxMessage)
	}
	binary.BigEndian.PutUint32(body, uint32(len(body)-4))
	return body, nil
}

// maxMessage is far above what a kernel accepts for arguments and environment
// together (6 MiB on Linux, 1 MiB on macOS).
const maxMessage = 64 << 20

// decodeSpec reads what encode wrote.
func decodeSpec(r io.Reader) (spec, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return spec{}, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxMessage {
		return spec{}, errors.New("the message is too long")
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return spec{}, err
	}
	fields := strings.SplitAfter(string(body), "\x00")
	if fields[len(fields)-1] != "" {
		return spec{}, errors.New("the message does not end in NUL")
	}
	fields = fields[:len(fields)-1]
	for i := range fields {
		fields[i] = strings.TrimSuffix(fields[i], "\x00")
	}
	if len(fields) < 4 {
		return spec{}, errors.New("the message is too short")
	}
	args, err := strconv.Atoi(fields[2])
	if err != nil || args < 1 || args > len(fields)-3 {
		return spec{}, fmt.Errorf("the message has %q arguments", fields[2])
	}
	return spec{path: fields[0], dir: fields[1], argv: fields[3 : 3+args], env: fields[3+args:]}, nil
}
