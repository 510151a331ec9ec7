package runner

import (
	"errors"
	"fmt"
)

// InfraError says that the engine or a runner failed: nothing is known about
// the command. It is never used for a command's own exit code.
type InfraError struct {
	// Op is what was being done, such as "mount the step's root".
	Op string
	// Kind is what a caller or a user can act on.
	Kind InfraKind
	// Temporary says that the same call may succeed later.
	Temporary bool
	// Err is the cause.
	Err error
}

// InfraKind classes infrastructure errors by what can be done about them.
type InfraKind string

// The kinds of infrastructure errors.
const (
	KindInternal    InfraKind = "internal"    // a fault in Strata or an unexpected answer of the system
	KindUnsupported InfraKind = "unsupported" // this machine cannot do it
	KindStart       InfraKind = "start"       // the command could not be started: no shell, no such program, no such directory
	KindDiskFull    InfraKind = "disk_full"   // a file system or quota is full
	KindWorkspace   InfraKind = "workspace"   // the working tree cannot be captured as it is
	KindLost        InfraKind = "lost"        // the sandbox or machine of the step vanished
	KindSnapshot    InfraKind = "snapshot"    // a snapshot is missing or damaged
)

// Error returns "op: cause".
func (e *InfraError) Error() string { return fmt.Sprintf("%s: %v", e.Op, e.Err) }

// Unwrap returns the cause.
func (e *InfraError) Unwrap() error { return e.Err }

// AsInfra returns err as an *InfraError, wrapping it as internal where it is none.
func AsInfra(op string, err error) *InfraError {
	var infra *InfraError
	if errors.As(err, &infra) {
		return infra
	}
	kind := KindInternal
	if IsDiskFull(err) {
		kind = KindDiskFull
	}
	return &InfraError{Op: op, Kind: kind, Err: err}
}
