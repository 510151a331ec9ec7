// Package sandbox runs commands in Linux namespaces, without a daemon.
//
// In: what to mount, what to run and where its output goes. Out: how the
// command ended. It knows nothing of steps, snapshots or pipelines.
//
// The unit is a [Cell]: one supervising process, a second start of this
// program, that is PID 1 of a PID namespace and root of a user namespace of
// its own. It runs commands one after another, each in new mount, IPC and UTS
// namespaces (and a network namespace where asked for), and ends every process
// of one before the next starts. So the price of starting a program is paid
// once per cell, not once per command, and killing the cell, or the process
// that started it, ends all that runs in it.
package sandbox
