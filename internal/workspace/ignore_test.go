package workspace_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/strata-ci/strata/internal/workspace"
)

func runGit(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "HOME="+dir, "XDG_CONFIG_HOME="+dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git %v (these tests compare with git: install it): %v\n%s", args, err, stderr.String())
	}
	return string(out)
}

// gitFiles lists what git would add: all files that no rule ignores.
func gitFiles(t *testing.T, root string) []string {
	t.Helper()
	out := runGit(t, root, "ls-files", "-z", "-o", "--exclude-standard")
	list := strings.FieldsFunc(out, func(r rune) bool { return r == 0 })
	slices.Sort(list)
	return list
}

func capturedFiles(c *workspace.Capture) []string {
	list := []string{}
	for e := range c.Entries() {
		if !e.Mode.IsDir() {
			list = append(list, e.Path)
		}
	}
	slices.Sort(list)
	return list
}

// names and patterns are made of few letters, so that they often meet.
var (
	anyName = rapid.SampledFrom([]string{
		"a", "b", "ab", "ba", "a.b", "aab", "abab", "A", "a b", "b ", "a\\", "[a]", "!a", "#b", "a-b", "]", "-", "é", "a\tb", "*",
	})
	anyPart = rapid.SampledFrom([]string{
		"a", "b", "ab", "*", "?", "**", "/", "/**/", "**/", "/**", "[ab]", "[!a]", "[^b]", "[a-c]", "[]a]", "[a", "[[:alpha:]]",
		"[[:punct:]]", "[[:space:]]", "[[:nope:]]", "[[:al]", "[a-]", "[\\]]", "[!]a]", "[*-a]", "[b-\\c]", "[/]", "[--b]",
		"\\", "\\a", "\\*", "\\ ", "\\/", " ", "!", "#", ".", "-", "***", "a*", "*b", "é", "\t", "\r", "[a-[:digit:]]", "[[]", "[:a:]",
	})
	anyPattern = rapid.Custom(func(t *rapid.T) string {
		parts := rapid.SliceOfN(anyPart, 0, 5).Draw(t, "parts")
		line := strings.Join(parts, "")
		if rapid.IntRange(0, 4).Draw(t, "negated") == 0 {
			line = "!" + line
		}
		return line + rapid.SampledFrom([]string{"", "", "", "/", " ", "  ", "\\ ", "\r"}).Draw(t, "end")
	})
	anyIgnoreFile = rapid.Custom(func(t *rapid.T) string {
		lines := rapid.SliceOfN(anyPattern, 1, 6).Draw(t, "lines")
		return strings.Join(lines, "\n") + rapid.SampledFrom([]string{"\n", "", "\r\n"}).Draw(t, "last")
	})
	anyPath = rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(anyName, 1, 4).Draw(t, "path"), "/")
	})
)

// growTree makes files at random paths; a path that meets a file is left out.
func growTree(t *rapid.T, root string) {
	for _, path := range rapid.SliceOfN(anyPath, 1, 25).Draw(t, "files") {
		full := filepath.Join(root, filepath.FromSlash(path))
		if os.MkdirAll(filepath.Dir(full), 0o755) != nil {
			continue
		}
		if fi, err := os.Lstat(full); err == nil && fi.IsDir() {
			continue
		}
		if err := os.WriteFile(full, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// somewhere picks the root or one of the directories that exist.
func somewhere(t *rapid.T, root string) string {
	dirs := []string{root}
	matches, err := filepath.Glob(filepath.Join(root, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range matches {
		if fi, err := os.Lstat(m); err == nil && fi.IsDir() {
			dirs = append(dirs, m)
		}
	}
	return rapid.SampledFrom(dirs).Draw(t, "directory")
}

func TestIgnoreRulesAreGits(t *testing.T) {
	p := newProject(t)
	base, count := t.TempDir(), 0
	rapid.Check(t, func(r *rapid.T) {
		count++
		p.root = filepath.Join(base, fmt.Sprint(count))
		must(t, os.MkdirAll(filepath.Join(p.root, ".git/info"), 0o755))
		must(t, os.MkdirAll(filepath.Join(p.root, ".git/objects"), 0o755))
		must(t, os.MkdirAll(filepath.Join(p.root, ".git/refs"), 0o755))
		must(t, os.WriteFile(filepath.Join(p.root, ".git/HEAD"), []byte("ref: refs/heads/main\n"), 0o644))
		growTree(r, p.root)
		for range rapid.IntRange(1, 3).Draw(r, "ignore files") {
			dir := somewhere(r, p.root)
			must(t, os.WriteFile(filepath.Join(dir, ".gitignore"), []byte(anyIgnoreFile.Draw(r, "rules")), 0o644))
		}
		if rapid.Bool().Draw(r, "exclude") {
			must(t, os.WriteFile(filepath.Join(p.root, ".git/info/exclude"), []byte(anyIgnoreFile.Draw(r, "rules")), 0o644))
		}
		c, _, err := p.open().Capture(t.Context())
		must(t, err)
		defer c.Close()
		if diff := cmp.Diff(gitFiles(t, p.root), capturedFiles(c)); diff != "" {
			r.Fatalf("git would add (-), the capture has (+):\n%s", diff)
		}
	})
}

func TestStrataIgnoreWins(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"git's rules alone", map[string]string{".gitignore": "*.o\n", "a.o": "", "b.c": ""}, ".gitignore b.c"},
		{"ignores more", map[string]string{".strataignore": "*.c\n", "a.o": "", "b.c": ""}, ".strataignore a.o"},
		{"includes again", map[string]string{".gitignore": "*.o\n", ".strataignore": "!a.o\n", "a.o": "", "b.o": ""}, ".gitignore .strataignore a.o"},
		{
			"wins over a deeper .gitignore",
			map[string]string{".strataignore": "!a.o\n", "d/.gitignore": "*.o\n", "d/a.o": "", "d/b.o": ""},
			".strataignore d/.gitignore d/a.o",
		},
		{
			"the deeper .strataignore wins",
			map[string]string{".strataignore": "*.o\n", "d/.strataignore": "!a.o\n", "d/a.o": "", "a.o": ""},
			".strataignore d/.strataignore d/a.o",
		},
		{"nothing comes back below an ignored directory", map[string]string{".gitignore": "d/\n", ".strataignore": "!d/a\n", "d/a": ""}, ".gitignore .strataignore"},
		{"an ignored directory comes back", map[string]string{".gitignore": "d/\n", ".strataignore": "!d/\n", "d/a": ""}, ".gitignore .strataignore d/a"},
		{".git is left out", map[string]string{".git/HEAD": "", "sub/.git": "gitdir: x", "a": ""}, "a"},
		{"!* does not mean .git", map[string]string{".git/HEAD": "", ".strataignore": "!*\n", "a": ""}, ".strataignore a"},
		{"!.git does", map[string]string{".git/HEAD": "", ".git/logs/x": "", ".gitignore": "logs\nHEAD\n", ".strataignore": "!.git\n"}, ".git/HEAD .git/logs/x .gitignore .strataignore"},
		{"rules inside of .git", map[string]string{".git/HEAD": "", ".git/objects/x": "", ".strataignore": "!/.git\n/.git/objects\n"}, ".git/HEAD .strataignore"},
		{"strata's own directory is captured", map[string]string{".strata/ci.star": ""}, ".strata/ci.star"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newProject(t)
			for name, content := range test.files {
				p.write(name, content)
			}
			c, _ := p.capture()
			if got := strings.Join(capturedFiles(c), " "); got != test.want {
				t.Errorf("captured %q, want %q", got, test.want)
			}
		})
	}
}

func TestIgnoreRulesAroundTheRoot(t *testing.T) {
	p := newProject(t)
	top := p.root
	runGit(t, top, "init", "-q")
	for name, content := range map[string]string{
		".gitignore": "*.o\n/mono/app/gen/\n", "mono/.gitignore": "/app/*.tmp\n!keep.o\n", ".git/info/exclude": "mono/app/private\n",
		"mono/app/a.o": "", "mono/app/keep.o": "", "mono/app/gen/x": "", "mono/app/x.tmp": "", "mono/app/d/x.tmp": "", "mono/app/private": "", "mono/app/main.c": "",
	} {
		p.write(name, content)
	}
	p.root = filepath.Join(top, "mono/app")
	c, _ := p.capture()
	if diff := cmp.Diff(gitFiles(t, p.root), capturedFiles(c)); diff != "" {
		t.Errorf("git would add (-), the capture has (+):\n%s", diff)
	}

	// A linked working tree has its exclude file in the main one.
	runGit(t, top, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-q", "--allow-empty", "-m", "a")
	p.root = filepath.Join(t.TempDir(), "linked")
	runGit(t, top, "worktree", "add", "-q", p.root)
	p.write("mono/app/private", "")
	p.write("mono/app/main.c", "")
	linked, _ := p.capture()
	if got := strings.Join(capturedFiles(linked), " "); got != "mono/app/main.c" {
		t.Errorf("a linked working tree: captured %q", got)
	}
}

func TestIgnoreRulesThatChangeCount(t *testing.T) {
	p := newProject(t)
	p.write("a", "")
	p.write("b", "")
	p.capture()
	p.write(".strataignore", "a\n")
	c, _ := p.capture()
	if got := strings.Join(capturedFiles(c), " "); got != ".strataignore b" {
		t.Errorf("after a rule was added: %q", got)
	}
	must(t, os.Remove(p.path(".strataignore")))
	c, _ = p.capture()
	if got := strings.Join(capturedFiles(c), " "); got != "a b" {
		t.Errorf("after the rules were removed: %q", got)
	}
}

func TestIgnoreFilesAreBounded(t *testing.T) {
	for name, content := range map[string]string{
		"longer than": strings.Repeat("x", 9000),
		"patterns":    strings.Repeat("a\n", 21_000),
		"larger than": strings.Repeat("#\n", 1<<20),
	} {
		p := newProject(t)
		p.write(".gitignore", content)
		if err := p.captureError(); !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), p.path(".gitignore")) {
			t.Errorf("%v does not say %q and the file", err, name)
		}
	}
}
