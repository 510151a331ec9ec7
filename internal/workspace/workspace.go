// Package workspace captures the user's working tree: an immutable copy, made
// once per run, of all that the ignore rules let through.
//
// In: a directory of the user, and a directory of Strata's state that belongs
// to that project. Out: a [Capture], as directories that overlayfs can stack or
// as a plain copy. It writes nothing to the working tree, follows no symlink in
// it, and never tells the content of a file from the live tree: what is hashed
// is what was copied.
//
// # What is captured
//
// Regular files, directories (empty ones too) and symlinks as they are, with
// permission bits, the sticky bit and times of modification to the nanosecond.
// Everything belongs to the user who runs Strata; set-user-ID and set-group-ID
// are dropped; hard links become separate files; extended attributes are not
// kept. Sockets, FIFOs and devices are left out and counted.
//
// # What is ignored
//
// What .strataignore files say, at every level; then .gitignore files at every
// level, also those between the root and the top of the git working tree around
// it; then .git/info/exclude; all with git's syntax and meaning. A file that
// git tracks is ignored all the same if a rule says so: git's own index is not
// read, nor is a user's global configuration. A directory or file named .git is
// ignored unless a .strataignore names it ("!.git"); below it, only
// .strataignore counts. What lies below an ignored directory cannot be included
// again, as in git.
//
// # How it stays fast and right
//
// An index keeps the stat of everything captured. A file is read again only if
// its stat differs, or if it changed so shortly before the last scan that its
// stat could not show another change (git's racy rule). In the same way a
// directory is listed again only if its stat or the rules for it differ: a name
// that comes or goes changes its directory's time. Changed files go into a
// new layer on top of the earlier ones; when there are many, the upper ones
// become one, by hard links within the state directory. Layers are not synced
// to disk: after another boot of the machine everything is captured anew.
package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/strata-ci/strata/internal/fault"
	"github.com/strata-ci/strata/internal/filelock"
	"github.com/strata-ci/strata/internal/filetree"
)

const (
	// defaultMaxEntries bounds a capture; a tree beyond it is surely not meant.
	defaultMaxEntries = 2_000_000
	// maxLayers is the most layers of a capture: low enough that the layers of
	// a snapshot can be stacked on them.
	maxLayers = 8
)

// Options change what a store captures. The zero value is right for most.
type Options struct {
	// Exclude are absolute directories that are never captured wherever they
	// lie, such as Strata's whole state. The store's own always is among them.
	Exclude []string
	// MaxEntries bounds the number of entries, 0 for 2,000,000.
	MaxEntries int
}

// Store makes captures of one working tree.
type Store struct {
	dir     string // of the state, absolute, without symlinks
	root    string // of the tree, the same
	skip    map[string]bool
	limit   int64
	workers int
	boot    string
}

// Stats says what a capture took.
type Stats struct {
	// Files is the number of entries of all kinds in the capture.
	Files int
	// Changed is the number of entries that were copied anew or removed. A
	// directory counts if it is new or has another mode.
	Changed int
	// Bytes is how much was copied.
	Bytes int64
	// Duration is the time from the call to the end, with the wait for another
	// process's capture.
	Duration time.Duration
	// Skipped is the number of sockets, FIFOs and devices that were left out,
	// and SkippedNames are the paths of the first few.
	Skipped      int
	SkippedNames []string
	// Notes are what a user may want to know, such as why all was captured anew.
	Notes []string
}

// Open prepares captures of the directory root, with the state in stateDir,
// which must be of this project only. The first capture makes it; Open writes
// nothing.
func Open(stateDir, root string, opts Options) (*Store, error) {
	root, err := realDirectory(root)
	if err != nil {
		return nil, fmt.Errorf("open the workspace: %w", err)
	}
	if err := refuse(root); err != nil {
		return nil, err
	}
	stateDir, err = futureDirectory(stateDir)
	if err != nil {
		return nil, fmt.Errorf("open the workspace's state directory: %w", err)
	}
	s := &Store{dir: stateDir, root: root, limit: int64(opts.MaxEntries), workers: runtime.GOMAXPROCS(0), boot: fault.Boot(bootID())}
	if s.limit <= 0 {
		s.limit = defaultMaxEntries
	}
	s.skip, err = skipped(root, append([]string{stateDir}, opts.Exclude...))
	return s, err
}

func realDirectory(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return "", err
	}
	fi, err := os.Stat(path)
	if err == nil && !fi.IsDir() {
		err = &fs.PathError{Op: "open", Path: path, Err: errors.New("not a directory")}
	}
	return path, err
}

// futureDirectory is realDirectory for a directory that need not exist yet.
func futureDirectory(path string) (string, error) {
	found, err := realDirectory(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return found, err
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", err
	}
	parent, err := futureDirectory(filepath.Dir(path))
	return filepath.Join(parent, filepath.Base(path)), err
}

// refuse refuses trees that are surely not meant to be a project.
func refuse(root string) error {
	if root == filepath.Dir(root) {
		return fmt.Errorf("open the workspace: %s is the whole file system: run Strata in a project's directory", root)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return nil // no home, nothing to protect
	}
	if home, err = realDirectory(home); err != nil || home != root {
		return nil
	}
	if _, err := os.Lstat(filepath.Join(root, strataIgnoreName)); err == nil {
		return nil
	}
	return fmt.Errorf("open the workspace: %s is your home directory: run Strata in a project's directory, "+
		"or say in %s what not to capture", root, filepath.Join(root, strataIgnoreName))
}

// skipped returns those of the directories that lie in root, as slash-separated paths.
func skipped(root string, dirs []string) (map[string]bool, error) {
	skip := make(map[string]bool)
	for _, dir := range dirs {
		dir, err := futureDirectory(dir)
		if err != nil {
			return nil, fmt.Errorf("open the workspace: %w", err)
		}
		rel, err := filepath.Rel(dir, root)
		if err == nil && filepath.IsLocal(rel) {
			return nil, fmt.Errorf("open the workspace: %s lies in %s, which holds Strata's own state", root, dir)
		}
		if rel, err = filepath.Rel(root, dir); err == nil && filepath.IsLocal(rel) {
			skip[filepath.ToSlash(rel)] = true
		}
	}
	return skip, nil
}

// Capture captures the tree as it is now. Another capture of the project, also
// in another process, is waited for. The caller closes the capture when no
// step can need it any more.
//
// An error says which files are to blame and what to do; a full disk stays
// visible to errors.Is. The last capture stays valid after any error.
func (s *Store) Capture(ctx context.Context) (*Capture, Stats, error) {
	start := time.Now()
	if err := os.MkdirAll(filepath.Join(s.dir, layersName), 0o700); err != nil {
		return nil, Stats{}, fmt.Errorf("make the workspace's state directory: %w", err)
	}
	lock, err := lockFile(ctx, filepath.Join(s.dir, lockName), filelock.Exclusive)
	if err != nil {
		return nil, Stats{}, err
	}
	// For LastUsed; a time that cannot be set makes the captures older than they are.
	_ = os.Chtimes(lock.Name(), start, start)
	var stats Stats
	c, err := s.capture(ctx, &stats)
	if closeErr := lock.Close(); err == nil && closeErr != nil {
		err = errors.Join(closeErr, c.Close())
	}
	stats.Duration = time.Since(start)
	if err != nil {
		return nil, stats, err
	}
	return c, stats, nil
}

func (s *Store) capture(ctx context.Context, stats *Stats) (*Capture, error) {
	last, err := s.load(stats)
	if err != nil {
		return nil, err
	}
	var keep []string
	if last != nil {
		keep = last.layers
	}
	s.sweep(keep, stats)
	next, err := s.update(ctx, last, stats)
	if err != nil {
		return nil, err
	}
	locks, err := s.hold(ctx, next.layers)
	if err != nil {
		return nil, err
	}
	s.sweep(next.layers, stats)
	return &Capture{id: next.id, root: next.root, trees: s.trees(next.layers), workers: s.workers, locks: locks}, nil
}

// load returns the last capture's index, or nil if there is none to build on.
func (s *Store) load(stats *Stats) (*index, error) {
	last, err := loadIndex(s.dir)
	switch {
	case errors.Is(err, errBadIndex):
		stats.Notes = append(stats.Notes, fmt.Sprintf("captured everything anew: %v", err))
		return nil, nil
	case err != nil || last == nil:
		return nil, err
	case last.boot != s.boot:
		stats.Notes = append(stats.Notes, "captured everything anew: the machine was restarted since the last capture")
		return nil, nil
	}
	for _, dir := range s.trees(last.layers) {
		if !isDirectory(dir) {
			stats.Notes = append(stats.Notes, fmt.Sprintf("captured everything anew: %s is missing", dir))
			return nil, nil
		}
	}
	return last, nil
}

// update scans the tree and brings layers and index up to date.
func (s *Store) update(ctx context.Context, last *index, stats *Stats) (*index, error) {
	tree, err := os.OpenRoot(s.root)
	if err != nil {
		return nil, fmt.Errorf("open the workspace: %w", err)
	}
	defer tree.Close()
	scanned := instantOf(time.Now())
	sc := &scanner{root: s.root, tree: tree, skip: s.skip, last: last, limit: s.limit, copier: newCopier(ctx)}
	root, err := sc.scan(ctx, s.workers)
	if err != nil {
		return nil, fmt.Errorf("capture the workspace: %w", err)
	}
	stats.Skipped, stats.SkippedNames = sc.special.total, sc.special.sorted()

	next := &index{scanned: scanned, boot: s.boot, root: root}
	stats.Changed = settle(last.tree(), root)
	if root.layer != pending {
		next.id, next.layers = last.id, last.layers
		stats.Files = int(sc.entries.Load())
		if sc.checked.Load() == 0 {
			return next, nil
		}
		return next, saveIndex(s.dir, next)
	}
	if err := s.build(ctx, tree, last, next, stats); err != nil {
		return nil, errors.Join(err, filetree.Remove(s.layerPath(newName)))
	}
	stats.Files = root.count() - 1
	if err := saveIndex(s.dir, next); err != nil {
		return nil, errors.Join(err, filetree.Remove(s.layerPath(next.layers[len(next.layers)-1])))
	}
	return next, nil
}

// build makes the layer that next needs on those of last.
func (s *Store) build(ctx context.Context, tree *os.Root, last, next *index, stats *Stats) error {
	fail := func(err error) error {
		var changed *changedError
		var denied *unreadableError
		if errors.As(err, &changed) || errors.As(err, &denied) {
			return fmt.Errorf("capture the workspace: %w", err)
		}
		return fmt.Errorf("write a layer of the capture in %s: %w", s.dir, err)
	}
	if err := s.createLayer(); err != nil {
		return fail(err)
	}
	b := &builder{root: s.root, tree: tree, out: s.layerPath(newName, treeName), sync: s.boot == "", copier: newCopier(ctx)}
	var old *node
	if last != nil {
		old, b.from = last.root, s.trees(last.layers)
		hides, err := s.canHide()
		if err != nil {
			return fail(err)
		}
		if hides {
			b.keep = keepLayers(next.root, len(last.layers))
		}
		next.layers = append(next.layers, last.layers[:b.keep]...)
	}
	if err := b.build(ctx, s.workers, old, next.root); err != nil {
		return fail(err)
	}
	if b.unreadable.total > 0 {
		return fail(&unreadableError{s.root, b.unreadable.sorted(), b.unreadable.total})
	}
	name, err := s.nameLayer()
	if err != nil {
		return fail(err)
	}
	next.layers = append(next.layers, name)
	next.id = identity(next.root)
	stats.Bytes = b.bytes.Load()
	return nil
}

// keepLayers says how many of the layers the next one is to lie on: all while
// there are few; then only the bottom one, so that the new layer takes the
// place of all others; none once those have grown to half of the tree.
func keepLayers(root *node, layers int) int {
	if layers < maxLayers {
		return layers
	}
	if above := countAbove(root); 2*above > root.count() {
		return 0
	}
	return 1
}

// countAbove returns how many nodes are not in the bottom layer.
func countAbove(n *node) int {
	if n.layer == 0 {
		return 0 // nor is anything below it: see settle
	}
	total := 1
	for i := range n.kids {
		total += countAbove(&n.kids[i])
	}
	return total
}
