//go:build linux

package container

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/internal/fault"
)

// probe is what is known about this machine: by which driver it can run steps.
// It is written down, since finding that out takes longer than everything else
// that a run does whose steps are all cached.
type probe struct {
	path string
	// for whom and what it holds: another boot, kernel, program, user, place or
	// set of options is another machine.
	machine string
}

// knowledge is what the file of a probe holds.
type knowledge struct {
	Machine string
	Driver  Driver
}

func probePath(state string) string { return filepath.Join(state, "machine.json") }

func newProbe(opts Options) (probe, error) {
	p := probe{path: probePath(opts.StateDir)}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return p, err
	}
	var kernel unix.Utsname
	if err := unix.Uname(&kernel); err != nil {
		return p, os.NewSyscallError("uname", err)
	}
	var program, state unix.Stat_t
	if err := unix.Stat("/proc/self/exe", &program); err != nil {
		return p, &os.PathError{Op: "stat", Path: "/proc/self/exe", Err: err}
	}
	if err := unix.Stat(opts.StateDir, &state); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return p, &os.PathError{Op: "stat", Path: opts.StateDir, Err: err}
	}
	namespace, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		return p, err
	}
	h := sha256.New()
	_, _ = fmt.Fprintln(h, fault.Boot(strings.TrimSpace(string(boot))), kernel.Release, kernel.Version, namespace)
	_, _ = fmt.Fprintln(h, program.Dev, program.Ino, program.Size, program.Mtim, program.Ctim)
	_, _ = fmt.Fprintf(h, "%d %d %d %q %q %t\n", os.Geteuid(), os.Getegid(), state.Dev, opts.StateDir, opts.Private, opts.ForceCopy)
	p.machine = hex.EncodeToString(h.Sum(nil))
	return p, nil
}

// maxKnowledge bounds the file, in bytes. A reason has a few hundred.
const maxKnowledge = 1 << 16

// recall returns what was found out before. Whatever else the file holds is
// found out again.
func (p probe) recall() (Driver, bool) {
	info, err := os.Stat(p.path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxKnowledge {
		return Driver{}, false
	}
	data, err := os.ReadFile(p.path)
	if err != nil {
		return Driver{}, false
	}
	var k knowledge
	if json.Unmarshal(data, &k) != nil || k.Machine != p.machine {
		return Driver{}, false
	}
	return k.Driver, k.Driver.Name == driverOverlay || k.Driver.Name == driverCopies
}

// remember writes down what was found out. What a kill or a loss of power leaves
// of that is found out again.
func (p probe) remember(d Driver) error {
	data, err := json.Marshal(knowledge{Machine: p.machine, Driver: d})
	if err != nil {
		return err
	}
	data, fail := fault.Cut("container: write down what the machine can do", data)
	return errors.Join(os.WriteFile(p.path, data, 0o600), fail)
}

// forget has the next runner find out again what the machine can do.
func forget(state string) error {
	err := os.Remove(probePath(state))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
