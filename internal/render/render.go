// Package render shows a run: as a calm terminal view, as plain lines for
// pipes and CI, or as NDJSON.
//
// In: the ordered items of a run's journal. Out: text. It reads the journal and
// nothing else, so that a run looks the same live, later and elsewhere, and it
// never lets a step's output or a name act on the terminal.
package render

import (
	"iter"

	"github.com/strata-ci/strata/internal/journal"
)

// Items is the stream of a run, as a reader of its journal gets it. A stream
// ends after its first error.
type Items = iter.Seq2[journal.Item, error]

// tailLines is how many of a step's last lines are shown where it failed: about
// a screenful, and more than a compiler's or a test runner's summary.
const tailLines = 40
