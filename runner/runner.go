// Package runner holds the contract between the engine and what executes
// steps. A runner is found by its name in a [Registry]; package runnertest is
// the suite that every runner passes.
//
// In: one step, resolved. Out: how its command ended and, where the engine
// asked for it, a snapshot. It never decides what to run, when, or whether a
// cached result may be used.
package runner

import (
	"context"
	"io"
	"reflect"
	"time"

	"github.com/strata-ci/strata/pipeline"
)

// StepRunner executes pipeline steps. Pipeline authors choose one by its Name.
// Its methods may be called from many goroutines at once.
type StepRunner interface {
	// Name is unique in a registry, such as "vm".
	Name() string

	// Execute runs one step to its end. An error means that the infrastructure
	// failed (a machine did not boot, the network broke) and is an *InfraError,
	// unless ctx ended first: then it is the context's error. A command that ran
	// and exited non-zero is not an error: its code is in StepResult.ExitCode.
	//
	// Execute returns only after all output is written and every process and
	// mount it made is gone, also when ctx is cancelled. Cancelling asks the
	// step's processes to terminate and kills them after a grace time, or at
	// once when sc.Kill is closed.
	Execute(ctx context.Context, sc *StepContext, in ExecutorInput) (StepResult, error)
}

// SnapshotReaper is optional: a runner without it has nothing to reap.
type SnapshotReaper interface {
	// ReapSnapshots removes ephemeral snapshots after a run: best effort,
	// idempotent. References that do not exist are no error.
	ReapSnapshots(ctx context.Context, refs []SnapshotRef) error
}

// SnapshotSharer is optional. Runners that return the same non-empty format
// can start steps from each other's snapshots; a runner without it can start
// only from its own.
type SnapshotSharer interface {
	SnapshotFormat() string
}

// SnapshotKeeper is optional. Results of a runner that has it, and is a
// SnapshotChecker, a SnapshotReaper and an ImageIdentifier too, can be cached.
type SnapshotKeeper interface {
	// KeepSnapshots makes committed snapshots outlive the run, the process and a
	// loss of power: when it returns without an error, all that they consist of
	// is on the disk. Until ReapSnapshots is called for them, also by another
	// process, they can be started from. It may be called while other steps
	// start from the same snapshots. With an error none of them counts as kept.
	KeepSnapshots(ctx context.Context, refs []SnapshotRef) ([]KeptSnapshot, error)
}

// KeptSnapshot says what a kept snapshot consists of.
type KeptSnapshot struct {
	Ref SnapshotRef
	// Parts are what the disk space goes to. Several snapshots may have the same
	// part; it is gone when the last of them is reaped.
	Parts []SnapshotPart
}

// SnapshotPart is a piece of a snapshot that is stored once.
type SnapshotPart struct {
	ID    string         // unique among the runner's parts
	Bytes pipeline.Bytes // disk blocks that it occupies
}

// SnapshotChecker is optional: see SnapshotKeeper.
type SnapshotChecker interface {
	// CheckSnapshot looks at a kept snapshot. If it is missing or not whole, the
	// error is an *InfraError of KindSnapshot that says what is wrong with which part.
	CheckSnapshot(ctx context.Context, ref SnapshotRef, depth CheckDepth) error
}

// CheckDepth says how closely to look at a snapshot.
type CheckDepth int

// The depths of a check.
const (
	CheckExists   CheckDepth = iota // all parts are there; costs the same for every size
	CheckFiles                      // no file was added, removed or written to; reads no contents
	CheckContents                   // every byte is as it was when the snapshot was kept
)

// ImageIdentifier is optional: see SnapshotKeeper.
type ImageIdentifier interface {
	// IdentifyImage tells one state of the image that the step starts from, and
	// of whatever else of the machine the step can see, from another: by the
	// name of a part, such as "packages", a digest or version of it. Equal parts
	// mean that a step finds the same. They become part of cache keys.
	IdentifyImage(ctx context.Context, step pipeline.Step) (map[string]string, error)
}

// StepValidator is optional. The plan asks it about every step of that runner;
// an error is a fault of the pipeline and says what the runner cannot do: an
// image, runner_args, a network or a limit. Without it a runner is taken to
// accept every image and network, but no runner_args and no resources.
type StepValidator interface {
	ValidateStep(step pipeline.Step) error
}

// SnapshotRef is the opaque name of a snapshot; empty for none. Its characters
// are [A-Za-z0-9._-], at most 128 of them.
type SnapshotRef string

// Workspace is an immutable capture of the user's working tree, taken once per run.
type Workspace interface {
	// ID is a digest of the capture's paths, modes and contents.
	ID() string
	// Layers are absolute directories, topmost first, that overlayfs can stack
	// as lower directories; nil where the platform has no overlayfs.
	Layers() []string
	// CopyTo writes the whole tree into dir, an existing empty directory.
	CopyTo(ctx context.Context, dir string) error
}

// CacheAction is what the engine decided about a step's result.
type CacheAction int

const (
	// MissNoCommit: run the step and keep nothing of its file system.
	MissNoCommit CacheAction = iota
	// MissBuildAs: run the step and, if its command exits with 0, commit its
	// file system under CacheDecision.Ref. The snapshot is ephemeral: it needs no
	// syncing to disk, and is reaped when the run ends, unless it is kept
	// (SnapshotKeeper).
	MissBuildAs
	// Hit: the result exists as CacheDecision.Ref; nothing runs.
	Hit
)

// CacheDecision is the engine's decision; a runner honours it and never decides again.
type CacheDecision struct {
	Action CacheAction
	// Ref is the snapshot to build or that was hit; empty where none is.
	Ref SnapshotRef
	// KeepFailed asks for what a command that did not pass has left to be
	// committed as Ref too, to be looked into.
	KeepFailed bool
}

// Commits reports whether what a step has left is to be committed as Ref, by
// whether its command passed.
func (d CacheDecision) Commits(passed bool) bool {
	if passed {
		return d.Action == MissBuildAs
	}
	return d.KeepFailed
}

// ExecutorInput is all that a runner is told about the step to run.
type ExecutorInput struct {
	// Step is the validated step. Its Env and Dir are not to be used: Env and
	// Dir below are the resolved ones.
	Step pipeline.Step
	// Env is the whole environment as sorted KEY=VALUE strings. A runner adds
	// only what the sandbox itself decides (PATH and HOME where unset).
	Env []string
	// Dir is the working directory, slash-separated, relative to the workspace.
	Dir string
	// RunID and StepID name the run, and the step among all runs. Both are
	// safe as file names.
	RunID, StepID string
	// Workspace is the run's capture; nil for an empty workspace.
	Workspace Workspace
	// Parent is the snapshot to start from; empty to start from the image. It may
	// have been made from another capture: then the step gets what the parent
	// changed in the workspace, on top of its own capture.
	Parent SnapshotRef
	// Cache is the engine's decision.
	Cache CacheDecision
	// Timeout bounds the command, 0 for no limit. Reaching it is
	// StepResult.TimedOut, not an error.
	Timeout time.Duration
}

// StepContext is where a step's output goes.
type StepContext struct {
	// Stdout and Stderr receive the command's output. Where both are the same
	// writer, the order of writes across the two streams is kept.
	Stdout, Stderr io.Writer
	// Notice tells the user something about the step that is not its output,
	// such as a limit that could not be applied. Never nil.
	Notice func(message string)
	// Kill, once closed, ends a cancelled step without grace. May be nil.
	Kill <-chan struct{}
}

// OneWriter reports whether Stdout and Stderr are the same writer. Writers of
// types that cannot be compared count as two.
func (sc *StepContext) OneWriter() bool {
	return reflect.ValueOf(sc.Stdout).Comparable() && reflect.ValueOf(sc.Stderr).Comparable() && sc.Stdout == sc.Stderr
}

// StepResult says how a command that ran has ended. Each outcome has a field
// of its own; none is encoded in another.
type StepResult struct {
	// ExitCode is the command's own code, 0 to 255; -1 if a signal ended it.
	ExitCode int
	// Signal is the name of the signal that ended the command, such as
	// "SIGKILL"; empty if it exited.
	Signal string
	// OutOfMemory says that the kernel killed a process for the step's memory limit.
	OutOfMemory bool
	// TimedOut says that the command was ended because Timeout was over.
	TimedOut bool
	// Snapshot is the committed snapshot; empty if none was asked for. Where the
	// command did not pass, it is the one of CacheDecision.KeepFailed.
	Snapshot SnapshotRef
	// Usage is what the command used, as far as the runner can tell.
	Usage Usage
}

// Passed reports whether the command ran to its end and exited with 0.
func (r StepResult) Passed() bool {
	return r.ExitCode == 0 && r.Signal == "" && !r.OutOfMemory && !r.TimedOut
}

// Usage is what a step's processes used. Zero is unknown.
type Usage struct {
	UserTime   time.Duration
	SystemTime time.Duration
	// PeakMemory is the largest resident set of the step, in bytes.
	PeakMemory pipeline.Bytes
}
