//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// How to get what version 2 gives to nobody unasked.
const delegationHint = "start Strata in a group of its own with `systemd-run --user --scope -p Delegate=yes strata …`"

// OpenCgroups finds out, by making and removing groups, where this process may
// make control groups: below its own group, so that the limits around Strata
// stay in force, or else beside it. The error says what to do.
//
// In cgroup version 2 a group with processes cannot have limited groups below
// it. Where this process is alone in its group, as a systemd scope of its own
// makes it, it is moved one level down to make room.
func OpenCgroups() (*Cgroups, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return nil, fmt.Errorf("look for control groups: %w", err)
	}
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("look for control groups: %w", err)
	}
	legacy, unified := locate(mounts, parseOwnGroups(string(text)))
	switch {
	case len(legacy) > 0:
		return openLegacy(legacy)
	case unified.own != "":
		return openUnified(unified)
	}
	return nil, errors.New("this machine has no control groups mounted: mount them with `mount -t cgroup2 none /sys/fs/cgroup`")
}

// parseOwnGroups reads /proc/self/cgroup: the group of each controller of
// version 1, and that of version 2 under the empty name (cgroups(7)).
func parseOwnGroups(text string) map[string]string {
	own := map[string]string{}
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) != 3 {
			continue
		}
		for _, name := range strings.Split(fields[1], ",") {
			own[name] = fields[2]
		}
	}
	return own
}

// place is this process's group in the tree of version 2.
type place struct{ top, own string }

// locate finds the directories of the own groups among the mounts.
func locate(mounts []*mountinfo.Info, own map[string]string) (legacy map[controller]string, unified place) {
	legacy = map[controller]string{}
	for _, m := range mounts {
		if m.FSType == "cgroup2" {
			if dir, ok := within(m, own[""]); ok && unified.own == "" {
				unified = place{top: m.Mountpoint, own: dir}
			}
			continue
		}
		for _, c := range controllers {
			if !slices.Contains(strings.Split(m.VFSOptions, ","), string(c)) {
				continue
			}
			if dir, ok := within(m, own[string(c)]); ok {
				legacy[c] = dir
			}
		}
	}
	return legacy, unified
}

// within turns the path of a group into a directory, if the mount shows it.
func within(m *mountinfo.Info, group string) (dir string, ok bool) {
	// "/..": outside of this process's cgroup namespace.
	if !strings.HasPrefix(group, "/") || strings.HasPrefix(group+"/", "/../") || strings.HasPrefix(m.Root+"/", "/../") {
		return "", false
	}
	rel, err := filepath.Rel(m.Root, group)
	if err != nil || !filepath.IsLocal(rel) {
		return "", false
	}
	return filepath.Join(m.Mountpoint, rel), true
}

func openLegacy(dirs map[controller]string) (*Cgroups, error) {
	g := &Cgroups{parents: map[controller]string{}}
	var errs []error
	for _, c := range controllers {
		dir, ok := dirs[c]
		if !ok {
			errs = append(errs, fmt.Errorf("the kernel offers no %s controller", c))
			continue
		}
		if _, err := probe(dir); err != nil {
			errs = append(errs, err)
			continue
		}
		g.parents[c] = dir
	}
	if len(errs) > 0 {
		g.why = errs[0]
	}
	if len(g.parents) > 0 {
		return g, nil
	}
	if os.Geteuid() == 0 {
		return nil, g.why
	}
	return nil, fmt.Errorf("this machine has cgroup version 1, where only root can limit a step: run Strata as root, or boot with systemd.unified_cgroup_hierarchy=1 (%w)", g.why)
}

func openUnified(at place) (*Cgroups, error) {
	if filepath.Base(at.own) == selfName() {
		at.own = filepath.Dir(at.own) // it has been moved down before
	}
	best := &Cgroups{unified: true}
	var errs []error
	for dir := at.own; ; dir = filepath.Dir(dir) {
		if err := makeRoom(dir, dir == at.own); err != nil {
			errs = append(errs, err)
		}
		found, err := probe(dir)
		if err != nil {
			errs = append(errs, err)
		}
		if len(found) > len(best.parents) {
			best.parents = map[controller]string{}
			for _, c := range found {
				best.parents[c] = dir
			}
		}
		if len(best.parents) == len(controllers) || dir == at.top {
			break
		}
	}
	best.why = whyNot(errs)
	if len(best.parents) == 0 {
		return nil, best.why
	}
	return best, nil
}

func whyNot(errs []error) error {
	err := errors.New("the groups around it do not pass the controller on")
	if len(errs) > 0 {
		err = errs[0] // that of the nearest group
	}
	if os.Geteuid() == 0 {
		return fmt.Errorf("start Strata in a group of its own with `systemd-run --scope -p Delegate=yes strata …` (%w)", err)
	}
	return fmt.Errorf("%s (%w)", delegationHint, err)
}

// probe makes a group, looks which controllers it has, and removes it.
func probe(parent string) (found []controller, err error) {
	// What a process may be moved from must be as writable as where to.
	procs, err := os.OpenFile(filepath.Join(parent, "cgroup.procs"), os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	if err := procs.Close(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(parent, groupName(os.Getpid(), "probe"))
	if err != nil {
		return nil, err
	}
	for c, file := range map[controller]string{controlCPU: "cpu.max", controlMemory: "memory.max", controlPids: "pids.max"} {
		if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
			found = append(found, c)
		}
	}
	return found, os.Remove(dir)
}

// makeRoom turns on the controllers for groups below dir: in the kernel's root
// group, which is free to, and in this process's own group, if it can leave it.
func makeRoom(dir string, own bool) error {
	offered, err := words(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	enabled, err := words(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil {
		return err
	}
	var wanted []string
	for _, c := range controllers {
		if offered[string(c)] && !enabled[string(c)] {
			wanted = append(wanted, "+"+string(c))
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	_, err = os.Stat(filepath.Join(dir, "cgroup.type")) // which the root has not
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return err
	case own:
		if alone, err := words(filepath.Join(dir, "cgroup.procs")); err != nil || !maps.Equal(alone, map[string]bool{strconv.Itoa(os.Getpid()): true}) {
			return err // others live in it, and they are not to be moved
		}
		return moveDown(dir, wanted)
	default:
		return nil // not this process's to change
	}
	return writeControl(filepath.Join(dir, "cgroup.subtree_control"), strings.Join(wanted, " "))
}

// moveDown moves this process, which is alone in dir, into a group below it.
func moveDown(dir string, wanted []string) error {
	leaf := filepath.Join(dir, selfName())
	if err := os.Mkdir(leaf, 0o755); err != nil {
		return err
	}
	err := writeControl(filepath.Join(leaf, "cgroup.procs"), "0")
	if err == nil {
		err = writeControl(filepath.Join(dir, "cgroup.subtree_control"), strings.Join(wanted, " "))
	}
	if err != nil {
		back := writeControl(filepath.Join(dir, "cgroup.procs"), "0")
		return errors.Join(err, back, unix.Rmdir(leaf))
	}
	return nil
}

// selfName is the group of this process itself, after moveDown.
func selfName() string { return groupName(os.Getpid(), "self") }

// words returns the words of a file.
func words(file string) (map[string]bool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	set := map[string]bool{}
	for _, w := range strings.Fields(string(text)) {
		set[w] = true
	}
	return set, nil
}
