// Package container is the runner that needs no daemon and no image: every
// step runs in a sandbox of its own on Linux, over its parent's snapshot.
//
// In: a step, its parent's snapshot and the workspace capture. Out: how the
// command ended and, where asked for, a committed snapshot. It never decides
// whether a step runs, and nothing that a step writes reaches the machine.
package container
