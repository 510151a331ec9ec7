// Package records keeps the records of a state directory in one SQLite file:
// cached results, kept snapshots, and the index of runs.
//
// In: the path of a state directory. Out: a database whose tables other
// packages own: cache, snapshot and history. It knows how to open, make,
// migrate and set aside the file, and nothing of what the rows mean.
package records

import (
	_ "embed"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

//go:embed schema.sql
var schema string
