package scaffold

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
)

// Project is what a project is made of; without parts it is unknown.
type Project struct {
	Parts []Part
	// Notes are for the reader of the pipeline: what was found but not used.
	Notes []string
}

// Part is one language, or build system, in one directory.
type Part struct {
	Language string // as people write it: "Go"
	Dir      string // slash-separated and relative to the project, empty for its root
	Evidence string // the file that told
	Notes    []string
	Steps    []Step
}

// Step is a step of the pipeline to be written.
type Step struct {
	Name    string // unique in its part
	Command string
	Parent  string // name of the step of the part that this one builds in, empty for none
	Comment string
	// Changes are files, relative to the part's directory. Where there are any,
	// the step's result is used until one of them changes.
	Changes []string
}

// maxFile bounds what is read of a project's file; more is not looked at.
const maxFile = 1 << 20

// maxEntries bounds how many entries of a directory are looked at.
const maxEntries = 1000

// Detect finds out what the project in dir is made of: Go, Node, Python, Rust,
// CMake and Make, in the root and in the directories right below it. A language
// of the root is not looked for below. It reads a bounded part of each file.
func Detect(dir string) (Project, error) {
	if info, err := os.Stat(dir); err != nil {
		return Project{}, err
	} else if !info.IsDir() {
		return Project{}, fmt.Errorf("%s is not a directory", dir)
	}
	var project Project
	inRoot, err := project.add(directory{root: dir}, nil)
	if err != nil {
		return Project{}, err
	}
	below, err := directory{root: dir}.directories()
	if err != nil {
		return Project{}, err
	}
	for _, name := range below {
		if _, err := project.add(directory{root: dir, rel: name}, inRoot); err != nil {
			return Project{}, err
		}
	}
	return project, nil
}

// add adds what is found in d, apart from the languages in known, and returns
// the languages that it added.
func (p *Project) add(d directory, known []string) (added []string, err error) {
	detectors := []struct {
		language string
		detect   func(directory) (Part, error)
	}{
		{"Go", detectGo}, {"Node", detectNode}, {"Python", detectPython}, {"Rust", detectRust}, {"C or C++", detectCMake},
	}
	for _, l := range detectors {
		if slices.Contains(known, l.language) {
			continue
		}
		part, err := l.detect(d)
		if err != nil {
			return nil, err
		}
		part.Language, part.Dir = l.language, d.rel
		p.take(part)
		if part.Evidence != "" {
			added = append(added, l.language)
		}
	}
	// Next to another build system, a Makefile is mostly a collection of short cuts.
	if len(added) > 0 || len(known) > 0 {
		return added, nil
	}
	part, err := detectMake(d)
	if err != nil {
		return nil, err
	}
	part.Language, part.Dir = "Make", d.rel
	p.take(part)
	return added, nil
}

// take adds a part that has steps; of another one, its notes remain.
func (p *Project) take(part Part) {
	if len(part.Steps) > 0 {
		p.Parts = append(p.Parts, part)
		return
	}
	p.Notes = append(p.Notes, part.Notes...)
}

// directory is one of a project's directories.
type directory struct {
	root string
	rel  string // slash-separated
}

func (d directory) path(name string) string {
	return filepath.Join(d.root, filepath.FromSlash(d.rel), filepath.FromSlash(name))
}

// has reports whether there is a regular file of that name.
func (d directory) has(name string) bool {
	info, err := os.Stat(d.path(name))
	return err == nil && info.Mode().IsRegular()
}

// first returns the first of the names that is a regular file, or nothing.
func (d directory) first(names ...string) string {
	for _, name := range names {
		if d.has(name) {
			return name
		}
	}
	return ""
}

// read returns the beginning of a regular file; nothing where there is none.
func (d directory) read(name string) (string, error) {
	if !d.has(name) { // nor is anything opened that could block, such as a FIFO
		return "", nil
	}
	f, err := os.Open(d.path(name))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path.Join(d.rel, name), err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path.Join(d.rel, name), err)
	}
	return string(content), nil
}

// matches reports whether the beginning of a file matches.
func (d directory) matches(name string, pattern *regexp.Regexp) (bool, error) {
	content, err := d.read(name)
	return pattern.MatchString(content), err
}

// list returns the names in a directory below d, sorted; none where there is no
// such directory.
func (d directory) list(name string) ([]fs.DirEntry, error) {
	f, err := os.Open(d.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the directory %s: %w", path.Join(d.rel, name), err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && !info.IsDir() {
		return nil, nil
	}
	entries, err := f.ReadDir(maxEntries)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the directory %s: %w", path.Join(d.rel, name), err)
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int {
		if a.Name() < b.Name() {
			return -1
		}
		return 1
	})
	return entries, nil
}

// Directories that hold no part of the project itself, or whose names cannot be
// the beginning of a step's name, are not looked into.
var (
	plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$`)
	aside     = []string{
		"build", "dist", "doc", "docs", "example", "examples", "node_modules", "out", "target", "test", "testdata", "tests",
		"third_party", "tmp", "vendor", "venv",
	}
)

func (d directory) directories() ([]string, error) {
	entries, err := d.list(".")
	var names []string
	for _, e := range entries {
		if e.IsDir() && plainName.MatchString(e.Name()) && !slices.Contains(aside, e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, err
}
