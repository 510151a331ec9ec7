//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// thisMachine describes the machine as a Markdown list.
func thisMachine() string {
	var u unix.Utsname
	kernel := "unknown"
	if err := unix.Uname(&u); err == nil {
		kernel = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
	}
	load, _, _ := strings.Cut(read("/proc/loadavg"), " ")
	return fmt.Sprintf("- Machine: %s, %d processors, %s GB memory, load %s at the start\n- System: %s, %s; %s\n",
		field("/proc/cpuinfo", "model name"), runtime.NumCPU(), memory(), load,
		strings.Trim(field("/etc/os-release", "PRETTY_NAME"), `"`), kernel, runtime.Version())
}

// field returns the value of the first "key: value" or "key=value" line.
func field(file, key string) string {
	lines := bufio.NewScanner(strings.NewReader(read(file)))
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value)
		}
		if name, value, ok := strings.Cut(lines.Text(), "="); ok && name == key {
			return value
		}
	}
	return "unknown"
}

func read(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return string(text)
}

func memory() string {
	var kb int64
	if _, err := fmt.Sscanf(field("/proc/meminfo", "MemTotal"), "%d", &kb); err != nil {
		return "?"
	}
	return fmt.Sprint((kb + 1<<19) >> 20)
}

// withoutJournal is ext4 as some virtual machines have it. There the kernel does
// not use a deleted file's inode again for minutes, and passes over all such
// ones for every new file: find_inode_bit in fs/ext4/ialloc.c.
const withoutJournal = "ext4 without a journal"

// hasJournal reports whether any ext4 of the machine has one.
func hasJournal() bool {
	journals, err := os.ReadDir("/proc/fs/jbd2")
	return err == nil && len(journals) > 0
}

func isMemory(dir string) bool { return fileSystem(dir) == "tmpfs" }

// fileSystem names the file system of dir: those that developers have.
func fileSystem(dir string) string {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return "unknown"
	}
	names := map[int64]string{
		unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs",
		unix.TMPFS_MAGIC: "tmpfs", unix.OVERLAYFS_SUPER_MAGIC: "overlayfs",
	}
	name, ok := names[int64(s.Type)] //nolint:unconvert // its type differs between architectures
	switch {
	case ok && name == "ext4" && !hasJournal():
		return withoutJournal
	case ok:
		return name
	}
	return fmt.Sprintf("type %#x", s.Type)
}

// sourceVersion names the commit that is measured.
func sourceVersion(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=12").Output()
	if err != nil {
		return "not in a git repository"
	}
	return "commit " + strings.TrimSpace(string(out))
}
