package workspace

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
)

// maxNamed bounds how many names an error or the statistics list.
const maxNamed = 20

// names collects paths from many goroutines: all are counted, some are kept.
type names struct {
	mu    sync.Mutex
	kept  []string
	total int
}

func (n *names) add(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.total++
	if len(n.kept) < maxNamed {
		n.kept = append(n.kept, name)
	}
}

// sorted returns the kept names in order. No add may be running.
func (n *names) sorted() []string { return slices.Sorted(slices.Values(n.kept)) }

// unreadableError names what the user may not read.
type unreadableError struct {
	root  string
	paths []string
	total int
}

func (e *unreadableError) Error() string {
	var b strings.Builder
	what := "1 entry"
	if e.total != 1 {
		what = fmt.Sprintf("%d entries", e.total)
	}
	fmt.Fprintf(&b, "cannot read %s of the working tree %s:", what, e.root)
	for _, path := range e.paths {
		fmt.Fprintf(&b, "\n  %s", printable(path))
	}
	if more := e.total - len(e.paths); more > 0 {
		fmt.Fprintf(&b, "\n  and %d more", more)
	}
	b.WriteString("\nmake them readable (chmod u+rX PATH), or list them in " + strataIgnoreName)
	return b.String()
}

func (e *unreadableError) Unwrap() error { return fs.ErrPermission }

// changedError names a file that did not hold still.
type changedError struct{ path string }

func (e *changedError) Error() string {
	return fmt.Sprintf("%s kept changing while it was captured: stop what writes to it, or list it in %s",
		printable(e.path), strataIgnoreName)
}

func unreadable(err error) bool { return errors.Is(err, fs.ErrPermission) }

// printable returns path as it is, or quoted if a terminal could not show it.
func printable(path string) string {
	if quoted := fmt.Sprintf("%q", path); quoted != `"`+path+`"` {
		return quoted
	}
	return path
}
