package pipeline

import (
	"fmt"
	"strconv"
	"strings"
)

// Fault is one thing that is wrong with a pipeline, with its place.
type Fault struct {
	// Path is the place in the IR, such as "steps[3].timeout"; empty for the
	// pipeline as a whole.
	Path string
	// Step is the name of the step that the fault is in; empty for none.
	Step string
	// Pos is the place in the source, as far as it is known.
	Pos Position
	// Message says what is wrong and what to do.
	Message string
}

// Error returns the place, the step and the message in one line.
func (f Fault) Error() string {
	where := f.Pos.String()
	if where == "" {
		where = f.Path
	}
	var s strings.Builder
	if where != "" {
		s.WriteString(where + ": ")
	}
	if f.Step != "" {
		s.WriteString("step " + strconv.Quote(f.Step) + ": ")
	}
	s.WriteString(f.Message)
	return s.String()
}

// Faults is every fault of a pipeline, in the order of its steps. As an error
// it is never empty.
type Faults []Fault

// maxShown is how many faults Error writes out: about a screen, beyond which
// nobody reads on.
const maxShown = 50

// Error returns one line for each fault, and a count in place of those that
// would no longer be read.
func (fs Faults) Error() string {
	var lines []string
	for i, f := range fs {
		if i == maxShown {
			lines = append(lines, fmt.Sprintf("… and %d more", len(fs)-maxShown))
			break
		}
		lines = append(lines, f.Error())
	}
	return strings.Join(lines, "\n")
}
