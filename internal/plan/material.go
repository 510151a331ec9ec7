package plan

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/strata-ci/strata/pipeline"
)

// KeyVersion is part of every key. It changes whenever the same material would
// lead to another result: a new meaning of a component, or another sandbox.
const KeyVersion = 1

// Key is a cache key: the SHA-256 of its material's canonical form.
type Key [sha256.Size]byte

// String returns the key in hex.
func (k Key) String() string { return hex.EncodeToString(k[:]) }

// IsZero reports whether there is no key.
func (k Key) IsZero() bool { return k == Key{} }

// Material is what a step's result depends on: the pre-image of its key, by
// component. Nothing else is part of a key: no time, no path of the project, no
// name of a step.
type Material struct {
	Version   int               `json:"version"` // KeyVersion
	Command   []string          `json:"command"` // what is executed
	Dir       string            `json:"dir,omitempty"`
	Env       []string          `json:"env,omitempty"` // sorted KEY=VALUE
	Runner    string            `json:"runner"`
	Args      string            `json:"runner_args,omitempty"` // canonical JSON
	Network   string            `json:"network,omitempty"`
	CPUs      float64           `json:"cpus,omitempty"`
	Memory    pipeline.Bytes    `json:"memory,omitempty"`
	Platform  string            `json:"platform"`           // GOOS/GOARCH
	Image     map[string]string `json:"image,omitempty"`    // the parts of its identity, and "name"
	Parent    Key               `json:"parent,omitzero"`    // the key of the step that it builds in
	Patterns  []string          `json:"patterns,omitempty"` // what selected the inputs, for explanations alone: not part of the key
	Inputs    []Input           `json:"-"`
	AllInputs bool              `json:"all_inputs,omitempty"` // the inputs are the whole workspace, for nothing says which
}

// Input is a file, directory or symbolic link of the capture.
type Input struct {
	Path   string
	Mode   uint32            // type, permission and sticky bits, as stat(2) has them
	Digest [sha256.Size]byte // SHA-256 of a file's content or a link's target; zero for a directory
}
