//go:build !linux

package runnertest

// processesWith finds nothing: other processes' environments cannot be seen here.
func processesWith(string) []string { return nil }

// zombies finds nothing: there is no process table to read.
func zombies() []string { return nil }
