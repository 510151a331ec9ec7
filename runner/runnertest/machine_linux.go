package runnertest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// processesWith returns the processes of this machine with that environment
// variable, as far as they can be seen.
func processesWith(variable string) []string {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	var found []string
	for _, file := range files {
		environ, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(environ, []byte(variable+"\x00")) {
			continue // gone, or somebody else's
		}
		cmdline, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		found = append(found, fmt.Sprintf("%s: %q", filepath.Dir(file), strings.Split(string(cmdline), "\x00")))
	}
	return found
}

// zombies returns the children of this process that have ended and that nobody
// has waited for.
func zombies() []string {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	var found []string
	for _, file := range files {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		var state string
		var parent int
		rest := stat[bytes.LastIndexByte(stat, ')')+1:]
		if _, err := fmt.Sscan(string(rest), &state, &parent); err == nil && state == "Z" && parent == os.Getpid() {
			found = append(found, string(stat))
		}
	}
	return found
}
