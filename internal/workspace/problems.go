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
	for i, path := range e.paths {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(" " + printable(path))
	}
	if more := e.total - len(e.paths); more > 0 {
		fmt.Fprintf(&b, " and %d more", more)
	}
	b.WriteString("; make them readable (chmod u+rX PATH), or list them in " + strataIgnoreName)
	return b.String()
}

func (e *unreadableError) Unwrap() error { return fs.ErrPermission }

// changedError names a file that did not hold still.
type changedError struct{ path string }

func (e *changedError) Error() string {
	return fmt.Sprintf("%s kept changing while it was captured: stop what writes to it, or list it in %s",
		printable(e.path), strataIgnoreName)
}

// Problem returns the part of an error that is about what the working tree
// holds, so that only its owner can mend it; nil where there is none.
func Problem(err error) error {
	var changed *changedError
	var denied *unreadableError
	switch {
	case errors.As(err, &changed):
		return changed
	case errors.As(err, &denied):
		return denied
	}
	return nil
}

// dirName is a directory's path as people read it.
func dirName(path string) string {
	if path == "" {
		return "."
	}
	return path + "/"
}

func unreadable(err error) bool { return errors.Is(err, fs.ErrPermission) }

// printable returns path as it is, or quoted if a terminal could not show it.
func printable(path string) string {
	if quoted := fmt.Sprintf("%q", path); quoted != `"`+path+`"` {
		return quoted
	}
	return path
}
