//go:build linux

package sandbox

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// idMaps returns the users and groups of a cell's user namespace. Root gets all
// that exist here under the same numbers, so that files belong to whom they
// say; an ordinary user may map only himself, and is root inside.
func idMaps() (users, groups []syscall.SysProcIDMap, setgroups bool, err error) {
	if os.Geteuid() != 0 {
		return []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
			[]syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}, false, nil
	}
	if users, err = identity("/proc/self/uid_map"); err != nil {
		return nil, nil, false, err
	}
	if groups, err = identity("/proc/self/gid_map"); err != nil {
		return nil, nil, false, err
	}
	// Inside a user namespace of an ordinary user: user_namespaces(7).
	allowed, err := os.ReadFile("/proc/self/setgroups")
	return users, groups, strings.TrimSpace(string(allowed)) == "allow", err
}

// identity maps every ID of the current user namespace to itself.
func identity(path string) ([]syscall.SysProcIDMap, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var ids []syscall.SysProcIDMap
	for line := range strings.Lines(string(data)) {
		var inside, outside, size int
		if _, err := fmt.Sscan(line, &inside, &outside, &size); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", path, line, err)
		}
		ids = append(ids, syscall.SysProcIDMap{ContainerID: inside, HostID: inside, Size: size})
	}
	return ids, nil
}
