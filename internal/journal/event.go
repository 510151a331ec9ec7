// Package journal keeps the ordered, durable record of a run: its events and
// the byte-exact log of every step.
//
// In: events and output from the engine. Out: the same, live or later, to any
// number of readers. It never interprets what a step did, and a reader never
// slows a writer.
package journal

import (
	"time"
)

// SchemaVersion is the version of the event schema; readers refuse a newer one.
const SchemaVersion = 1

// Type names what happened.
type Type string

// The event types of a run, in the order in which a run emits them.
const (
	RunStarted      Type = "run_started"      // Version, Pipeline, Project, Jobs, Steps
	CaptureFinished Type = "capture_finished" // Capture
	PlanMade        Type = "plan_made"        // Decisions: which steps an earlier result is used for, and why
	Notice          Type = "notice"           // Message; with Step where it is about one
	StepStarted     Type = "step_started"     // Step, Runner
	StepRetried     Type = "step_retried"     // Step, Attempt, and how the one before has ended; Message says when it starts
	StepFinished    Type = "step_finished"    // Step, Status and how it ended
	RunCancelling   Type = "run_cancelling"   // Message says why; running steps are being ended
	RunFinished     Type = "run_finished"     // Status, ExitCode, DurationMS
)

// Status is how a step or a run ended.
type Status string

// The ends of a step. A run ends as Passed, Failed, TimedOut, Cancelled,
// InfraFailed, Interrupted or Invalid.
const (
	Passed      Status = "passed"
	Cached      Status = "cached"       // an earlier result was used
	Failed      Status = "failed"       // the command exited non-zero, died by a signal or ran out of memory
	TimedOut    Status = "timed_out"    // the time limit was over
	Skipped     Status = "skipped"      // it never started; Cause names the step that is to blame
	Cancelled   Status = "cancelled"    // the user, or the first failure of the run, ended it
	InfraFailed Status = "infra_failed" // the engine or the runner failed; nothing is known about the command
	Interrupted Status = "interrupted"  // the engine's process died before the run's end
	Invalid     Status = "invalid"      // of a run: the pipeline does not fit the workspace, so that nothing ran
)

// Event is one entry of the journal and one line of NDJSON output. Which of
// the optional fields are set depends on Type.
type Event struct {
	Type  Type      `json:"type"`
	Seq   uint64    `json:"seq"` // 1, 2, 3 … without gaps
	Time  time.Time `json:"time"`
	RunID string    `json:"run_id"`
	Step  string    `json:"step,omitempty"` // a step's name

	Version  int    `json:"version,omitempty"` // SchemaVersion
	Pipeline string `json:"pipeline,omitempty"`
	Project  string `json:"project,omitempty"` // absolute path of the project's root
	Jobs     int    `json:"jobs,omitempty"`    // the most steps that run at once
	Steps    []Step `json:"steps,omitempty"`   // in definition order

	Capture   *Capture   `json:"capture,omitempty"`
	Decisions []Decision `json:"decisions,omitempty"` // in definition order
	Message   string     `json:"message,omitempty"`
	Runner    string     `json:"runner,omitempty"`

	Status      Status  `json:"status,omitempty"`
	ExitCode    *int    `json:"exit_code,omitempty"` // of the command; of strata itself in run_finished
	Signal      string  `json:"signal,omitempty"`
	OutOfMemory bool    `json:"out_of_memory,omitempty"`
	Cause       string  `json:"cause,omitempty"` // for Skipped, and for Cancelled by a failure: the step to blame
	Error       *Error  `json:"error,omitempty"` // for InfraFailed
	DurationMS  float64 `json:"duration_ms,omitempty"`
	Snapshot    string  `json:"snapshot,omitempty"`
	LogBytes    int64   `json:"log_bytes,omitempty"` // length of the step's whole log
	Usage       *Usage  `json:"usage,omitempty"`
	Key         string  `json:"key,omitempty"`     // cache key of the step, in hex
	From        *Origin `json:"from,omitempty"`    // for Cached: where the result comes from
	Attempt     int     `json:"attempt,omitempty"` // 1, 2 …; left out in step_finished where there was one
}

// Decision is what the plan says about a step's cached result, and why. The
// reasons are those of package plan.
type Decision struct {
	Step        string   `json:"step"`
	Reason      string   `json:"reason"`
	Message     string   `json:"message"`           // the reason, for people
	Key         string   `json:"key,omitempty"`     // cache key, in hex
	From        *Origin  `json:"from,omitempty"`    // of a hit: where its result comes from
	Nearest     *Origin  `json:"nearest,omitempty"` // of a miss: the earlier result that Changes compare with
	Changes     []Change `json:"changes,omitempty"`
	MoreChanges int      `json:"more_changes,omitempty"` // how many there are beside those in Changes
	Gone        *Gone    `json:"gone,omitempty"`         // of an entry that was removed
	ExpectedMS  float64  `json:"expected_ms,omitempty"`  // how long the step took lately
}

// Change is one difference between what a step's result depends on now and what
// it depended on at an earlier time.
type Change struct {
	Step      string `json:"step,omitempty"` // whose: one that the step builds in, at any distance; empty for its own
	Component string `json:"component"`      // such as "command", "environment", "input"
	Name      string `json:"name,omitempty"` // of the file, the variable or the part
	Before    string `json:"before,omitempty"`
	After     string `json:"after,omitempty"`
}

// Origin is the step of a run that made a result.
type Origin struct {
	Run  string    `json:"run"`
	Step string    `json:"step"`
	Time time.Time `json:"time"` // when the result was kept
}

// Gone is what is left of a cached result that was removed.
type Gone struct {
	From Origin    `json:"from"`
	Time time.Time `json:"time"`
	Rule string    `json:"rule"` // by which it went
}

// Step is what readers need to know of a step before it starts.
type Step struct {
	Name      string   `json:"name"`
	Label     string   `json:"label,omitempty"`
	Command   string   `json:"command"`
	Runner    string   `json:"runner"`
	BuildsIn  string   `json:"builds_in,omitempty"`
	DependsOn []string `json:"depends_on,omitempty"`
}

// Title is the step's label, or its name where it has none.
func (s Step) Title() string {
	if s.Label != "" {
		return s.Label
	}
	return s.Name
}

// Capture sums up the capture of the workspace.
type Capture struct {
	ID         string  `json:"id"`
	Files      int     `json:"files"`   // entries of all kinds in the capture
	Changed    int     `json:"changed"` // of them, copied anew; removals count too
	Bytes      int64   `json:"bytes"`   // copied
	DurationMS float64 `json:"duration_ms"`
}

// Error is an infrastructure error.
type Error struct {
	Op        string `json:"op"`
	Kind      string `json:"kind"`
	Temporary bool   `json:"temporary,omitempty"`
	Message   string `json:"message"`
}

// Usage is what a step's processes used.
type Usage struct {
	UserMS     float64 `json:"user_ms"`
	SystemMS   float64 `json:"system_ms"`
	PeakMemory int64   `json:"peak_memory"` // bytes
}

// Item is what a reader of a run gets, in order: an event, or a piece of a
// step's output. Exactly one field is set. All output of a step comes after its
// step_started and before its step_finished.
type Item struct {
	Event  *Event
	Output *Output
}

// Output is a piece of a step's log. Pieces are cut anywhere, also within a
// line or a character; Data is valid only until the next item is asked for.
type Output struct {
	Step string
	Data []byte
}
