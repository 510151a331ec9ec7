package workspace

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The names of the ignore files, and of git's own directory.
const (
	gitIgnoreName    = ".gitignore"
	strataIgnoreName = ".strataignore"
	gitDirName       = ".git"
)

// Bounds of an ignore file: far above what people write, far below what would
// make a capture slow.
const (
	maxIgnoreBytes = 1 << 20
	maxIgnoreRules = 20_000
	maxIgnoreLine  = 8192
)

// rule is one line of an ignore file.
type rule struct {
	glob     glob
	negated  bool // "!": include again
	dirOnly  bool // trailing "/"
	basename bool // no other "/": matches the last name of a path at any depth
	namesGit bool // the pattern ends in the literal name ".git"
}

// parseRules parses an ignore file as git does: one pattern per line, '#'
// comments, trailing spaces dropped unless escaped, CRLF line ends accepted.
func parseRules(data []byte) ([]rule, error) {
	var rules []rule
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	for number := 1; len(data) > 0; number++ {
		var line []byte
		line, data, _ = bytes.Cut(data, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) > maxIgnoreLine {
			return nil, fmt.Errorf("line %d is longer than %d bytes", number, maxIgnoreLine)
		}
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		line, _, _ = bytes.Cut(line, []byte{0})
		if len(rules) == maxIgnoreRules {
			return nil, fmt.Errorf("line %d: more than %d patterns", number, maxIgnoreRules)
		}
		rules = append(rules, parseRule(trimTrailingSpaces(string(line))))
	}
	return rules, nil
}

func trimTrailingSpaces(line string) string {
	end := 0 // after the last byte to keep
	for i := 0; i < len(line); i++ {
		if line[i] == ' ' {
			continue
		}
		if line[i] == '\\' {
			i++
		}
		end = min(i+1, len(line))
	}
	return line[:end]
}

func parseRule(pattern string) rule {
	pattern, negated := strings.CutPrefix(pattern, "!")
	r := parsePositive(pattern)
	r.negated = negated
	return r
}

// parsePositive parses a pattern whose "!" is cut off.
func parsePositive(pattern string) (r rule) {
	pattern, r.dirOnly = strings.CutSuffix(pattern, "/")
	r.basename = !strings.Contains(pattern, "/")
	r.namesGit = pattern == gitDirName || strings.HasSuffix(pattern, "/"+gitDirName)
	if pattern == "" {
		r.glob.kind = globNothing
		return r
	}
	r.glob = compileGlob(strings.TrimPrefix(pattern, "/"), r.basename)
	return r
}

// ruleFile is the content of one ignore file. base is the length of its
// directory's path with a trailing slash, 0 at the top.
type ruleFile struct {
	rules []rule
	base  int
	outer *ruleFile // the file of the same kind in the nearest directory above
}

// ruleSet holds the rules that apply in one directory.
type ruleSet struct {
	git    *ruleFile // .gitignore files, the nearest first; at the end .git/info/exclude
	strata *ruleFile // .strataignore files, the nearest first
	inGit  bool      // below a .git directory, where .gitignore files mean nothing

	// sum is a digest of all that led to these rules: where it is the same, the
	// same names of a directory are ignored.
	sum digest
}

// target is the path that rules are asked about.
type target struct {
	dir, name string // slash-separated; dir is empty at the top
	isDir     bool
	path      string // dir and name joined, made when first needed
}

// join returns the whole path.
func (t *target) join() string {
	if t.path == "" {
		t.path = joinPath(t.dir, t.name)
	}
	return t.path
}

// excluded decides about one entry of the directory that s belongs to. The
// caller never asks about what lies below an excluded directory.
func (s ruleSet) excluded(dir, name string, isDir bool) bool {
	t := target{dir: dir, name: name, isDir: isDir}
	isGit := name == gitDirName
	for f := s.strata; f != nil; f = f.outer {
		if r := f.last(&t, isGit); r != nil {
			return !r.negated
		}
	}
	if isGit {
		return true
	}
	if s.inGit {
		return false
	}
	for f := s.git; f != nil; f = f.outer {
		if r := f.last(&t, false); r != nil {
			return !r.negated
		}
	}
	return false
}

// last returns the last rule of the file that matches, or nil. With isGit, only
// rules that name ".git" can include: "!*" is not meant to.
func (f *ruleFile) last(t *target, isGit bool) *rule {
	for i := len(f.rules) - 1; i >= 0; i-- {
		r := &f.rules[i]
		if r.dirOnly && !t.isDir || isGit && r.negated && !r.namesGit || !r.glob.mayEnd(t.name) {
			continue
		}
		if r.basename {
			if r.glob.match(t.name) {
				return r
			}
			continue
		}
		if r.glob.match(t.join()[f.base:]) {
			return r
		}
	}
	return nil
}

// ignoreFile is what was read from an ignore file.
type ignoreFile struct {
	rules []rule
	sum   digest
}

// enter returns the rules of the directory dir, given those of its parent and
// the ignore files that lie in it (nil where there is none).
func (s ruleSet) enter(dir string, git, strata *ignoreFile) ruleSet {
	base := 0
	if dir != "" {
		base = len(dir) + 1
	}
	if git != nil {
		s.git = &ruleFile{rules: git.rules, base: base, outer: s.git}
		s = s.mix("git", git.sum[:])
	}
	if strata != nil {
		s.strata = &ruleFile{rules: strata.rules, base: base, outer: s.strata}
		s = s.mix("strata", strata.sum[:])
	}
	return s
}

// mix returns the set with one more cause in its sum.
func (s ruleSet) mix(kind string, data []byte) ruleSet {
	s.sum = sha256.Sum256(slices.Concat(s.sum[:], []byte(kind), data))
	return s
}

// readRules reads an ignore file. One that does not exist, or is no regular
// file, is nil: like git, this does not follow a symlink in the tree.
func readRules(path string) (*ignoreFile, error) {
	before, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !before.Mode().IsRegular() {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read ignore rules: %w", err)
	}
	f, err := openRegular(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read ignore rules: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxIgnoreBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read ignore rules: %w", err)
	}
	if len(data) > maxIgnoreBytes {
		return nil, fmt.Errorf("read ignore rules: %s is larger than %d bytes: shorten it", path, maxIgnoreBytes)
	}
	rules, err := parseRules(data)
	if err != nil {
		return nil, fmt.Errorf("read ignore rules: %s: %w", path, err)
	}
	return &ignoreFile{rules, sha256.Sum256(data)}, nil
}

// outerRules returns the rules that come from outside of root, and root's path
// below the git working tree that it lies in, empty if it is the top of one or
// lies in none: .git/info/exclude, and the .gitignore files of the directories
// between that top and root.
func outerRules(root string) (s ruleSet, prefix string, err error) {
	top := gitTop(root)
	if top == "" {
		return s, "", nil
	}
	exclude, err := readRules(filepath.Join(commonGitDir(top), "info", "exclude"))
	if err != nil {
		return s, "", err
	}
	s = s.enter("", exclude, nil)
	rel, err := filepath.Rel(top, root)
	if err != nil || rel == "." {
		return s, "", nil
	}
	prefix = filepath.ToSlash(rel)
	dir := ""
	for _, name := range strings.Split(prefix, "/") {
		rules, err := readRules(filepath.Join(top, filepath.FromSlash(dir), gitIgnoreName))
		if err != nil {
			return s, "", err
		}
		s = s.enter(dir, rules, nil)
		dir = joinPath(dir, name)
	}
	return s, prefix, nil
}

// gitTop returns the nearest directory at or above root that has a .git, or "".
func gitTop(root string) string {
	for dir := root; ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(filepath.Join(dir, gitDirName)); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
	}
}

// commonGitDir returns the git directory that holds info/exclude. In a linked
// working tree or a submodule, .git is a file that points to a directory, and
// that one may point on to the common one.
func commonGitDir(top string) string {
	dir := filepath.Join(top, gitDirName)
	if link, ok := strings.CutPrefix(readLine(dir), "gitdir: "); ok {
		dir = resolve(top, link)
	}
	if common := readLine(filepath.Join(dir, "commondir")); common != "" {
		dir = resolve(dir, common)
	}
	return dir
}

func resolve(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// readLine returns the first line of a small file, empty if it cannot be read.
func readLine(path string) string {
	f, err := openRegular(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 8192))
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSpace(line)
}

// joinPath joins slash-separated path elements; dir may be empty.
func joinPath(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
