package journal

import (
	_ "embed"
	"slices"
)

//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema of an Event in version SchemaVersion.
func Schema() []byte { return slices.Clone(schema) }
