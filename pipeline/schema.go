package pipeline

import (
	_ "embed"
	"slices"
)

//go:embed schema.json
var schema []byte

// Schema returns the published JSON Schema (draft 2020-12) of the IR. It
// accepts all that [Decode] and [Validate] accept. References between steps
// are beyond a schema: those only Validate checks.
func Schema() []byte { return slices.Clone(schema) }
