package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/strata-ci/strata/pipeline"
)

// KeyVersion is part of every key. It changes whenever the same material would
// lead to another result: a new meaning of a component, or another sandbox.
const KeyVersion = 1

// Key is a cache key: the SHA-256 of its material's canonical form.
type Key [sha256.Size]byte

// String returns the key in hex.
func (k Key) String() string { return hex.EncodeToString(k[:]) }

// MarshalText returns the key in hex.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (k *Key) UnmarshalText(text []byte) error {
	var key Key
	if len(text) != hex.EncodedLen(len(key)) {
		return fmt.Errorf("a cache key has %d hexadecimal digits, not %d characters", hex.EncodedLen(len(key)), len(text))
	}
	if _, err := hex.Decode(key[:], text); err != nil {
		return fmt.Errorf("a cache key is written in hexadecimal digits: %w", err)
	}
	*k = key
	return nil
}

// IsZero reports whether there is no key.
func (k Key) IsZero() bool { return k == Key{} }

// Material is what a step's result depends on: the pre-image of its key, by
// component. Nothing else is part of a key: no time, no path of the project, no
// name of a step.
type Material struct {
	Version int      `json:"version"` // KeyVersion
	Command []string `json:"command"` // what is executed
	Dir     string   `json:"dir,omitempty"`
	// Env is NAME=DIGEST, sorted: values may be secrets, so that only their
	// SHA-256 is kept.
	Env      []string          `json:"env,omitempty"`
	Runner   string            `json:"runner"`
	Args     string            `json:"runner_args,omitempty"` // canonical JSON
	Network  string            `json:"network,omitempty"`     // empty for the machine's own
	CPUs     float64           `json:"cpus,omitempty"`
	Memory   pipeline.Bytes    `json:"memory,omitempty"`
	Platform string            `json:"platform"`           // GOOS/GOARCH
	Image    map[string]string `json:"image,omitempty"`    // the parts of its identity, and "name"; empty with a Parent
	Parent   Key               `json:"parent,omitzero"`    // the key of the step that it builds in
	Inputs   Digest            `json:"inputs,omitzero"`    // of the list of inputs; with AllInputs, the ID of the capture
	Patterns []string          `json:"patterns,omitempty"` // what selected the inputs, for explanations alone: not part of the key
	// AllInputs says that the inputs are the whole workspace, for nothing says which.
	AllInputs bool `json:"all_inputs,omitempty"`
}

// Key returns the digest of the material.
func (m *Material) Key() Key { return sha256.Sum256(m.Preimage()) }

// Preimage returns the canonical form of the material: a line for each value,
// "NAME LENGTH:BYTES". Two materials have the same one only if they have the
// same components.
func (m *Material) Preimage() []byte {
	var b []byte
	add := func(name, value string) {
		b = append(b, name...)
		b = append(b, ' ')
		b = strconv.AppendInt(b, int64(len(value)), 10)
		b = append(b, ':')
		b = append(b, value...)
		b = append(b, '\n')
	}
	add("version", strconv.Itoa(m.Version))
	for _, word := range m.Command {
		add("command", word)
	}
	add("dir", m.Dir)
	for _, variable := range m.Env {
		add("environment", variable)
	}
	add("runner", m.Runner)
	add("runner_args", m.Args)
	add("network", m.Network)
	add("cpus", strconv.FormatFloat(m.CPUs, 'g', -1, 64))
	add("memory", strconv.FormatInt(int64(m.Memory), 10))
	add("platform", m.Platform)
	for _, part := range slices.Sorted(maps.Keys(m.Image)) {
		add("image", part)
		add("is", m.Image[part])
	}
	if !m.Parent.IsZero() {
		add("builds_in", m.Parent.String())
	}
	switch {
	case m.AllInputs:
		add("workspace", m.Inputs.String())
	case !m.Inputs.IsZero():
		add("inputs", m.Inputs.String())
	}
	return b
}

// Digest is the SHA-256 of a list of inputs.
type Digest [sha256.Size]byte

// String returns the digest in hex.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// IsZero reports whether there is no list.
func (d Digest) IsZero() bool { return d == Digest{} }

// MarshalText returns the digest in hex.
func (d Digest) MarshalText() ([]byte, error) { return Key(d).MarshalText() }

// UnmarshalText reads what MarshalText writes.
func (d *Digest) UnmarshalText(text []byte) error { return (*Key)(d).UnmarshalText(text) }

// Input is a file, directory or symbolic link of the capture.
type Input struct {
	Path   string
	Mode   uint32            // type, permission and sticky bits, as stat(2) has them; a link's type alone
	Digest [sha256.Size]byte // SHA-256 of a file's content or a link's target; zero for a directory
}
