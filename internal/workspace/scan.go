package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
)

// listBuffer is the size of the reads of a directory, in bytes.
const listBuffer = 32 << 10

// scanner walks the working tree and compares it with the last capture. It
// reads no file whose stat proves that it is unchanged.
type scanner struct {
	root    string          // absolute
	tree    *os.Root        // the same; no open through it leaves the tree
	skip    map[string]bool // slash-separated paths of directories that are never captured
	prefix  string          // root's path below the git working tree around it
	last    *index          // nil if there is none
	limit   int64
	entries atomic.Int64
	checked atomic.Int64 // what was read again although it was in the last capture

	unreadable names
	special    names // sockets, FIFOs and devices
	copier     *copier
	buffers    sync.Pool
}

// scanItem is a directory to list.
type scanItem struct {
	path  string // slash-separated, empty for the root
	now   *node  // to be given its children
	old   *node  // nil if it was no directory
	rules ruleSet
}

// scan returns the tree as it is now. Files and symlinks to be copied anew are
// pending; the layers of directories are not set yet.
func (s *scanner) scan(ctx context.Context, workers int) (*node, error) {
	s.buffers.New = func() any { return new(make([]byte, listBuffer)) }
	rules, prefix, err := outerRules(s.root)
	if err != nil {
		return nil, err
	}
	s.prefix = prefix
	rules = rules.mix("place", fmt.Appendf(nil, "%q %q", prefix, slices.Sorted(maps.Keys(s.skip))))
	st, err := lstat(s.root)
	if err != nil {
		return nil, err
	}
	root := &node{stat: directoryStat(st)}
	var old *node
	if s.last != nil {
		old = s.last.root
	}
	if err := spread(ctx, workers, scanItem{now: root, old: old, rules: rules}, s.visit); err != nil {
		return nil, err
	}
	if s.unreadable.total > 0 {
		return nil, s.unreadableError()
	}
	return root, nil
}

func (s *scanner) unreadableError() error {
	return &unreadableError{s.root, s.unreadable.sorted(), s.unreadable.total}
}

func directoryStat(st stat) stat {
	st.size = 0
	return st
}

func (s *scanner) visit(it scanItem, push func(scanItem)) error {
	d, err := openDirectory(filepath.Join(s.root, filepath.FromSlash(it.path)))
	switch {
	case errors.Is(err, fs.ErrNotExist) && it.path != "":
		return nil // it went away after its parent was listed: it is captured empty
	case unreadable(err):
		s.unreadable.add(dirName(it.path))
		return nil
	case err != nil:
		return err
	}
	err = s.list(d, it, push)
	return errors.Join(err, d.close())
}

func (s *scanner) list(d directory, it scanItem, push func(scanItem)) error {
	list, rules, known, err := s.names(d, it)
	if err != nil {
		return err
	}
	var left []node
	if it.old.isDir() {
		left = it.old.kids
	}
	kids := make([]node, 0, len(list))
	matchDir := s.matchDir(it.path)
	for _, name := range list {
		st, err := d.lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case unreadable(err):
			s.unreadable.add(dirName(it.path))
			return nil
		case err != nil:
			return fmt.Errorf("examine %s: %w", printable(joinPath(it.path, name)), err)
		}
		isDir := st.kind() == typeDir
		if !known && rules.excluded(matchDir, name, isDir) || isDir && len(s.skip) > 0 && s.skip[joinPath(it.path, name)] {
			continue
		}
		for len(left) > 0 && left[0].name < name {
			left = left[1:]
		}
		var old *node
		if len(left) > 0 && left[0].name == name {
			old = &left[0]
		}
		kid, ok, err := s.entry(d, it, name, st, old)
		if err != nil {
			return err
		}
		if ok {
			kids = append(kids, kid)
		}
	}
	if s.entries.Add(int64(len(kids))) > s.limit {
		return fmt.Errorf("the working tree %s has more than %d entries: list what no step needs in %s",
			s.root, s.limit, strataIgnoreName)
	}
	it.now.kids = kids
	for i := range kids {
		if kid := &kids[i]; kid.isDir() {
			push(scanItem{joinPath(it.path, kid.name), kid, s.old(it, kid.name), rules})
		}
	}
	return nil
}

func (s *scanner) old(it scanItem, name string) *node {
	if old := it.old.kid(name); old.isDir() {
		return old
	}
	return nil
}

// matchDir is the path of a directory for ignore rules.
func (s *scanner) matchDir(path string) string {
	if s.prefix == "" || path == "" {
		return s.prefix + path
	}
	return s.prefix + "/" + path
}

// names returns the sorted names of a directory and the rules for them. If they
// are known, they are those of the last capture, whose rules were the same, so
// that nothing else in the directory is of interest: adding or removing a name
// changes a directory's own time.
func (s *scanner) names(d directory, it scanItem) (list []string, rules ruleSet, known bool, err error) {
	if s.sameNames(it) {
		rules, err = s.enter(it, it.old.hints)
		if err != nil || rules.sum == it.old.digest {
			it.now.digest, it.now.hints = it.old.digest, it.old.hints
			return it.old.names(), rules, true, err
		}
	}
	if it.old != nil && it.old.hints&hasSpecial == 0 {
		s.checked.Add(1)
	}
	if list, err = d.names(&s.buffers); err != nil {
		return nil, rules, false, err
	}
	slices.Sort(list)
	for name, hint := range map[string]hints{gitIgnoreName: hasGitIgnore, strataIgnoreName: hasStrataIgnore} {
		if _, there := slices.BinarySearch(list, name); there {
			it.now.hints |= hint
		}
	}
	rules, err = s.enter(it, it.now.hints)
	it.now.digest = rules.sum
	return list, rules, false, err
}

// sameNames reports whether the directory surely has the names that it had at
// the last capture.
func (s *scanner) sameNames(it scanItem) bool {
	return it.old != nil && it.old.stat == it.now.stat && it.now.stat.ctime != (instant{}) &&
		!s.last.racy(&it.now.stat) && it.old.hints&hasSpecial == 0
}

// enter returns the rules for the entries of a directory that has the hinted
// ignore files.
func (s *scanner) enter(it scanItem, has hints) (rules ruleSet, err error) {
	rules = it.rules
	if filepath.Base(it.path) == gitDirName {
		rules.inGit = true
	}
	read := func(name string) *ignoreFile {
		f, readErr := readRules(filepath.Join(s.root, filepath.FromSlash(it.path), name))
		if !unreadable(readErr) { // as an entry of the tree it is reported
			err = errors.Join(err, readErr)
		}
		return f
	}
	var git, strata *ignoreFile
	if has&hasGitIgnore != 0 && !rules.inGit {
		git = read(gitIgnoreName)
	}
	if has&hasStrataIgnore != 0 {
		strata = read(strataIgnoreName)
	}
	return rules.enter(s.matchDir(it.path), git, strata), err
}

// entry makes the node of one entry of a directory; not ok if it is nothing
// that a capture holds.
func (s *scanner) entry(d directory, it scanItem, name string, st stat, old *node) (n node, ok bool, err error) {
	if st.kind() == typeDir {
		return node{name: name, stat: directoryStat(st)}, true, nil
	}
	known := old != nil && old.stat.kind() == st.kind()
	if known && old.stat == st && !s.last.racy(&st) {
		return *old, true, nil
	}
	path := joinPath(it.path, name)
	n = node{name: name, stat: st, layer: pending}
	switch st.kind() {
	case typeLink:
		n.target, err = os.Readlink(filepath.Join(s.root, filepath.FromSlash(path)))
		if errors.Is(err, fs.ErrNotExist) {
			return n, false, nil
		}
		if known && n.target == old.target && old.stat.sameContent(&st) {
			n.layer = old.layer
			s.checked.Add(1)
		}
		return n, err == nil, err
	case typeRegular:
		if err := d.readable(name); unreadable(err) {
			s.unreadable.add(path)
			return n, false, nil
		}
		if known && old.stat.sameContent(&st) {
			s.check(&n, path, old)
		}
		return n, true, nil
	default:
		s.special.add(path)
		it.now.hints |= hasSpecial
		return n, false, nil
	}
}

// check reads a file whose stat alone does not prove that it is unchanged. If
// it holds still and has the captured content, it stays where it is. Any fault
// leaves it pending: copying it will tell.
func (s *scanner) check(n *node, path string, old *node) {
	f, err := s.tree.OpenFile(filepath.FromSlash(path), os.O_RDONLY|openFlags, 0)
	if err != nil {
		return
	}
	defer f.Close()
	if st, err := fstat(f); err != nil || st != n.stat {
		return
	}
	sum, err := s.copier.hash(nil, f, n.stat.size)
	if err != nil || sum != old.digest {
		return
	}
	if st, err := fstat(f); err != nil || st != n.stat {
		return
	}
	n.digest, n.layer = old.digest, old.layer
	s.checked.Add(1)
}
