//go:build linux

package sandbox

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Advice says what to change on this machine after Start or Run has failed,
// from what the kernel's settings tell. It is empty where they tell nothing.
func Advice(err error) string {
	denied := errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
	switch {
	case sysctl("/proc/sys/kernel/unprivileged_userns_clone") == "0":
		return "allow user namespaces: sudo sysctl -w kernel.unprivileged_userns_clone=1"
	case sysctl("/proc/sys/user/max_user_namespaces") == "0":
		return "allow user namespaces: sudo sysctl -w user.max_user_namespaces=15000"
	case denied && sysctl("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
		return "allow user namespaces: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
	case errors.Is(err, unix.ENOSPC):
		return "too many user namespaces exist: end what uses them, or raise them with sudo sysctl -w user.max_user_namespaces=15000"
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL):
		return "the kernel has no user namespaces or an old overlayfs: Linux 5.12 or newer, built with CONFIG_USER_NS and CONFIG_OVERLAY_FS, is needed"
	case denied && inContainer():
		return "this is a container that forbids namespaces: start it with --privileged, or with --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined"
	}
	return ""
}

func sysctl(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return "" // this kernel has no such setting
	}
	return strings.TrimSpace(string(data))
}

// inContainer reports whether files that container engines make are there.
func inContainer() bool {
	for _, mark := range []string{"/.dockerenv", "/run/.containerenv"} {
		if _, err := os.Stat(mark); err == nil {
			return true
		}
	}
	return false
}
