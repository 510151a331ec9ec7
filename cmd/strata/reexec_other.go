//go:build !linux

package main

import "github.com/strata-ci/strata/internal/runners/host"

// reexec turns the process into the helper that a runner started it to be, and
// then never returns. It is the first thing that main does.
func reexec() { host.Supervise() }
