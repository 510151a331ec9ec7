//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// DefaultProcesses bounds the processes and threads of every command where
// control groups can be used: half of what a Linux machine has by default
// (PID_MAX_DEFAULT of linux/threads.h), so that the other half is left to it.
const DefaultProcesses = 16384

// Limits bound what all processes of a command use together.
type Limits struct {
	// CPUs is how many processors' time they get, 0 for no limit.
	CPUs float64
	// Memory is in bytes, 0 for no limit. It covers the page cache, which the
	// kernel takes back first, and files in /dev/shm. Swap is not used.
	Memory int64
	// Processes counts threads too; 0 is DefaultProcesses.
	Processes int
}

// controller is a kind of control group, by the kernel's name.
type controller string

const (
	controlCPU    controller = "cpu"
	controlMemory controller = "memory"
	controlPids   controller = "pids"
)

var controllers = []controller{controlCPU, controlMemory, controlPids}

func (l Limits) needs() []controller {
	var needs []controller
	if l.CPUs > 0 {
		needs = append(needs, controlCPU)
	}
	if l.Memory > 0 {
		needs = append(needs, controlMemory)
	}
	if l.Processes > 0 {
		needs = append(needs, controlPids)
	}
	return needs
}

// Cgroups is where commands get control groups of their own. A command starts
// its life in its group: nothing is moved, and the cell itself is in none, so
// that it is not among what the kernel kills, stops or refuses for a limit.
type Cgroups struct {
	unified bool                  // cgroup version 2
	parents map[controller]string // directories in which groups are made
	why     error                 // what keeps the other controllers away

	mu      sync.Mutex
	made    int
	retired []*group // still to be removed
}

// group is one control group: a directory, in version 1 one per hierarchy.
type group struct {
	dirs map[controller]string
	// doors are what the cell needs to start a command in the group: in version
	// 2 the directory, in version 1 the file tasks of each.
	doors []*os.File
}

// Check says why limits cannot be applied here, with what to do about it.
func (g *Cgroups) Check(l Limits) error {
	if !(l.CPUs >= 0) || l.Memory < 0 || l.Processes < 0 {
		return fmt.Errorf("a limit is not a number from 0 on: %+v", l)
	}
	for _, c := range l.needs() {
		switch {
		case g == nil:
			return fmt.Errorf("no %s limit can be set: control groups are not in use", c)
		case g.parents[c] == "":
			return fmt.Errorf("no %s limit can be set: %w", c, g.why)
		}
	}
	return nil
}

// newGroup makes a group with limits.
func (g *Cgroups) newGroup(l Limits) (*group, error) {
	if err := g.Check(l); err != nil {
		return nil, err
	}
	if l.Processes == 0 {
		l.Processes = DefaultProcesses
	}
	made, err := g.makeDirs(l)
	if err != nil {
		return nil, fmt.Errorf("make a control group: %w", err)
	}
	err = made.limit(g.settings(l))
	if err == nil {
		err = made.openDoors(g.unified)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("limit a control group: %w", err), g.remove(made))
	}
	return made, nil
}

// makeDirs makes the directories of a group under a name that is free: more
// than one of g may be in use in a process.
func (g *Cgroups) makeDirs(l Limits) (*group, error) {
	for {
		g.mu.Lock()
		g.made++
		name := groupName(os.Getpid(), strconv.Itoa(g.made))
		g.mu.Unlock()
		made := &group{dirs: map[controller]string{}}
		err := made.makeDirs(g.parentsFor(l), name)
		if err == nil {
			return made, nil
		}
		if err := errors.Join(err, g.remove(made)); !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
}

// parentsFor leaves out hierarchies of version 1 that have nothing to limit.
func (g *Cgroups) parentsFor(l Limits) map[controller]string {
	if g.unified {
		return g.parents
	}
	parents := map[controller]string{}
	for _, c := range l.needs() {
		if p := g.parents[c]; p != "" {
			parents[c] = p
		}
	}
	return parents
}

func (g *group) makeDirs(parents map[controller]string, name string) error {
	for c, parent := range parents {
		dir := filepath.Join(parent, name)
		if !g.has(dir) { // several controllers may share a hierarchy
			if err := os.Mkdir(dir, 0o755); err != nil {
				return err
			}
		}
		g.dirs[c] = dir
	}
	return nil
}

func (g *group) has(dir string) bool {
	for _, d := range g.dirs {
		if d == dir {
			return true
		}
	}
	return false
}

// paths are the directories, each once.
func (g *group) paths() []string {
	var paths []string
	seen := map[string]bool{}
	for _, dir := range g.dirs {
		if !seen[dir] {
			seen[dir] = true
			paths = append(paths, dir)
		}
	}
	return paths
}

func (g *group) openDoors(unified bool) error {
	for _, dir := range g.paths() {
		door, err := os.OpenFile(filepath.Join(dir, "tasks"), os.O_WRONLY, 0)
		if unified {
			door, err = os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
		}
		if err != nil {
			return err
		}
		g.doors = append(g.doors, door)
	}
	return nil
}

// limit writes the settings whose controller the group has.
func (g *group) limit(settings []setting) error {
	for _, s := range settings {
		dir, ok := g.dirs[s.controller]
		if !ok {
			continue
		}
		err := writeControl(filepath.Join(dir, s.file), s.value)
		if s.mayFail != 0 && errors.Is(err, s.mayFail) {
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// oomKills is how many processes of the group the kernel has killed for want of memory.
func (g *Cgroups) oomKills(of *group) (int, error) {
	dir, ok := of.dirs[controlMemory]
	if !ok {
		return 0, nil
	}
	file := "memory.oom_control"
	if g.unified {
		file = "memory.events"
	}
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return 0, fmt.Errorf("look for processes killed for want of memory: %w", err)
	}
	return counter(string(text), "oom_kill")
}

// counter returns a value of a file of lines of a name and a number.
func counter(text, name string) (int, error) {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.Atoi(strings.TrimSpace(value))
		}
	}
	return 0, fmt.Errorf("the kernel does not count %s", name)
}

// remove removes a group once nothing is in it. In version 1 the cell's thread
// that started the command may still be about to end, so what is busy is tried
// again with the next group, the last time after the cell has ended.
func (g *Cgroups) remove(of *group) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if of != nil {
		closeAll(of.doors)
		of.doors = nil
		g.retired = append(g.retired, of)
	}
	var errs []error
	var busy []*group
	for _, r := range g.retired {
		switch err := r.rmdir(); {
		case errors.Is(err, unix.EBUSY):
			busy = append(busy, r)
		case err != nil:
			errs = append(errs, fmt.Errorf("remove a control group: %w", err))
		}
	}
	g.retired = busy
	return errors.Join(errs...)
}

func (g *group) rmdir() error {
	var errs []error
	for _, dir := range g.paths() {
		if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, &fs.PathError{Op: "rmdir", Path: dir, Err: err})
		}
	}
	return errors.Join(errs...)
}

const groupPrefix = "strata-"

// groupName names a group after the process that owns it.
func groupName(owner int, name string) string {
	return groupPrefix + strconv.Itoa(owner) + "-" + name
}

// groupOwner returns the owner of a group by its name.
func groupOwner(name string) (pid int, ok bool) {
	rest, ok := strings.CutPrefix(name, groupPrefix)
	number, _, found := strings.Cut(rest, "-")
	if !ok || !found {
		return 0, false
	}
	pid, err := strconv.Atoi(number)
	if err != nil || pid <= 0 || strconv.Itoa(pid) != number {
		return 0, false
	}
	return pid, true
}

// Sweep removes the empty groups of processes that no longer exist.
func (g *Cgroups) Sweep() error {
	var errs []error
	seen := map[string]bool{}
	for _, parent := range g.parents {
		if seen[parent] {
			continue
		}
		seen[parent] = true
		entries, err := os.ReadDir(parent)
		if err != nil {
			errs = append(errs, err)
		}
		for _, e := range entries {
			pid, ours := groupOwner(e.Name())
			if !ours || !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
				continue
			}
			// ENOENT: another process sweeps too. EBUSY: there is life in it.
			err := unix.Rmdir(filepath.Join(parent, e.Name()))
			if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EBUSY) {
				errs = append(errs, &fs.PathError{Op: "rmdir", Path: filepath.Join(parent, e.Name()), Err: err})
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove control groups of processes that are gone: %w", err)
	}
	return nil
}

func writeControl(file, value string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
