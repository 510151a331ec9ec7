// Package pipeline defines Strata's intermediate representation (IR): what
// every front end produces and what everything after it consumes.
//
// In: values built by a front end, or JSON. Out: a validated Pipeline and its
// canonical JSON. It never reads files, runs anything or knows a runner.
package pipeline

import "encoding/json"

// Version is the version of the IR that this package reads and writes.
const Version = 1

// Pipeline is a directed acyclic graph of steps with a name.
type Pipeline struct {
	// Version is the IR version; always [Version] after Decode.
	Version int `json:"version"`
	// Name identifies the pipeline among those of a project.
	Name string `json:"name"`
	// Env is given to every step; a step's own Env wins.
	Env map[string]string `json:"env,omitempty"`
	// Timeout bounds the whole run, 0 for no limit.
	Timeout Duration `json:"timeout,omitempty"`
	// Steps, in the order of their definition.
	Steps []Step `json:"steps"`

	// Pos is where the pipeline was defined. It is not part of the IR.
	Pos Position `json:"-"`
}

// Step is one command with its environment, image, runner, inputs and policies.
type Step struct {
	// Name is unique in the pipeline and safe as a file name; see [ValidName].
	Name string `json:"name"`
	// Label is shown to people instead of Name where it is set.
	Label string `json:"label,omitempty"`
	// Command is what the step runs.
	Command Command `json:"command"`
	// Dir is the working directory, slash-separated and relative to the
	// workspace; empty for its root.
	Dir string `json:"dir,omitempty"`
	// Env is added to the pipeline's.
	Env map[string]string `json:"env,omitempty"`
	// Image is the file system that the step starts from: "host" (the default)
	// or an image reference. Only for a step without BuildsIn.
	Image string `json:"image,omitempty"`
	// Runner names the runner; empty for the default one.
	Runner string `json:"runner,omitempty"`
	// RunnerArgs is for the runner alone, which validates it.
	RunnerArgs json.RawMessage `json:"runner_args,omitempty"`
	// Timeout bounds the command, 0 for no limit.
	Timeout Duration `json:"timeout,omitempty"`
	// Retry is how often the step is tried again after an infrastructure error
	// that is marked temporary; at most [MaxRetries]. Not part of the cache key.
	Retry int `json:"retry,omitempty"`
	// RetryFailed is how often the step is tried again after its command ran and
	// did not pass; at most [MaxRetries]. Not part of the cache key.
	RetryFailed int `json:"retry_failed,omitempty"`
	// Cache says when an earlier result may be used; nil is the policy "none".
	Cache *CachePolicy `json:"cache,omitempty"`
	// Inputs are workspace globs whose files are part of the cache key.
	Inputs []string `json:"inputs,omitempty"`
	// BuildsIn names the step whose file-system state this one starts from.
	BuildsIn string `json:"builds_in,omitempty"`
	// DependsOn names steps that must pass before this one starts.
	DependsOn []string `json:"depends_on,omitempty"`
	// Network is "host" (the default) or "none".
	Network string `json:"network,omitempty"`
	// Resources limits the step; nil for no limits.
	Resources *Resources `json:"resources,omitempty"`

	// Pos is where the step was defined. It is not part of the IR.
	Pos Position `json:"-"`
}

// Resources limits what a step may use. Zero fields are not limited.
type Resources struct {
	// CPUs is a number of processors, fractions allowed.
	CPUs float64 `json:"cpus,omitempty"`
	// Memory is a number of bytes.
	Memory Bytes `json:"memory,omitempty"`
}

// Values of Step.Network.
const (
	NetworkHost = "host" // the machine's own network
	NetworkNone = "none" // a loopback device and nothing else
)

// ImageHost is the image that stands for this machine's own files, read-only.
const ImageHost = "host"

// CachePolicy says when an earlier result of a step may be used again.
// Exactly the fields that its Kind names are set.
type CachePolicy struct {
	Kind  CacheKind     `json:"policy"`
	TTL   Duration      `json:"ttl,omitempty"`   // for CacheTTL
	Paths []string      `json:"paths,omitempty"` // for CacheOnChange
	All   []CachePolicy `json:"all,omitempty"`   // for CacheAll
}

// CacheKind names a cache policy.
type CacheKind string

// The cache policies.
const (
	CacheNone     CacheKind = "none"      // never
	CacheForever  CacheKind = "forever"   // while the key is the same
	CacheTTL      CacheKind = "ttl"       // as CacheForever, for TTL from the result's birth
	CacheOnChange CacheKind = "on_change" // as CacheForever, with the files that match Paths in the key
	CacheAll      CacheKind = "all"       // only when every policy of All allows it
)

// Position is a place in a pipeline's source. Line and Col start at 1; 0 is unknown.
type Position struct {
	File string
	Line int
	Col  int
}
