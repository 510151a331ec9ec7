package workspace_test

import (
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

// chosen lists what patterns select, and which of them match nothing.
func chosen(t *testing.T, files *workspace.View, lists ...[]string) (paths, missing []string) {
	t.Helper()
	p, err := workspace.CompilePatterns(lists...)
	must(t, err)
	for _, m := range files.Select(p, func(e workspace.Entry) { paths = append(paths, e.Path) }) {
		missing = append(missing, lists[m.List][m.Pattern])
	}
	return paths, missing
}

func (p *project) look() *workspace.View {
	p.t.Helper()
	v, _, err := p.open().Look(p.t.Context())
	must(p.t, err)
	return v
}

func TestPatternsSelect(t *testing.T) {
	p := newProject(t)
	for _, name := range []string{
		"Makefile", "go.mod", "src/main.go", "src/main_test.go", "src/a/x.go", "src/a/x_test.go", "src/a/gen/y.go",
		"docs/go.mod", "docs/Makefile", "a b/#c", "!x", "src-old/main.go", "t/src/z",
	} {
		p.write(name, name)
	}
	must(t, os.MkdirAll(p.path("empty/deep"), 0o755))
	must(t, os.Symlink("src/main.go", p.path("link")))
	files := p.look()
	for _, test := range []struct {
		patterns []string
		want     string
		missing  string
	}{
		{[]string{"go.mod"}, "docs/go.mod go.mod", ""},
		{[]string{"./go.mod"}, "go.mod", ""},
		{[]string{"docs/go.mod"}, "docs/go.mod", ""},
		{[]string{"src/**/*.go", "!**/*_test.go"}, "src/a/gen/y.go src/a/x.go src/main.go", ""},
		{[]string{"src/**/*.go", "!gen/"}, "src/a/x.go src/a/x_test.go src/main.go src/main_test.go", ""},
		{[]string{"src/**/*.go", "!gen/", "src/a/gen/y.go"}, "src/a/gen/y.go src/a/x.go src/a/x_test.go src/main.go src/main_test.go", ""},
		{[]string{"./src/", "!*.go"}, "src src/a src/a/gen", ""},
		{[]string{"!*.go", "./src/a/gen"}, "src/a/gen src/a/gen/y.go", ""},
		{[]string{"src/"}, "src src/a src/a/gen src/a/gen/y.go src/a/x.go src/a/x_test.go src/main.go src/main_test.go t/src t/src/z", ""},
		{[]string{"Makefile/"}, "", "Makefile/"},
		{[]string{"empty/"}, "empty empty/deep", ""},
		{[]string{"link"}, "link", ""},
		{[]string{"link/main.go"}, "", "link/main.go"},
		{[]string{"*.py", "go.mod", "!*.rb"}, "docs/go.mod go.mod", "*.py"},
		{[]string{"./src/", "src/a/x.go", "src/a/nope.go"}, "src src/a src/a/gen src/a/gen/y.go src/a/x.go src/a/x_test.go src/main.go src/main_test.go", "src/a/nope.go"},
		{[]string{"a b/#c"}, "a b/#c", ""},
		{[]string{"#c"}, "a b/#c", ""},
		{[]string{"**/!x"}, "!x", ""},
		{[]string{"go.mod", "!!x"}, "docs/go.mod go.mod", ""},
	} {
		got, missing := chosen(t, files, test.patterns)
		slices.Sort(got)
		if strings.Join(got, " ") != test.want || strings.Join(missing, " ") != test.missing {
			t.Errorf("%q selects %q and misses %q", test.patterns, strings.Join(got, " "), missing)
		}
	}
	all := 0
	for range files.Entries() {
		all++
	}
	for _, whole := range []string{".", "**", "*", "./"} {
		if got, _ := chosen(t, files, []string{whole}); len(got) != all {
			t.Errorf("%q selects %d of %d entries", whole, len(got), all)
		}
	}
	two, _ := chosen(t, files, []string{"src/**/*.go", "!*_test.go"}, []string{"src/main_test.go"})
	if want := []string{"src/a/gen/y.go", "src/a/x.go", "src/main.go", "src/main_test.go"}; !slices.Equal(two, want) {
		t.Errorf("two lists select %q, want %q", two, want)
	}
}

func TestPatternsThatSelectNothingAreRefused(t *testing.T) {
	for _, list := range [][]string{{"!a"}, {""}, {"a", "["}, {"/"}, {"!"}, nil} {
		if _, err := workspace.CompilePatterns(list); err == nil {
			t.Errorf("%q is accepted", list)
		}
	}
}

// gitMatches says which paths of a tree git takes for ignored by one pattern,
// directories above them included.
func gitMatches(t *rapid.T, root, pattern string, paths []string) map[string]bool {
	if err := os.WriteFile(filepath.Join(root, ".git/info/exclude"), []byte(pattern+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("git", "check-ignore", "-z", "--stdin", "--no-index")
	cmd.Dir = root
	cmd.Stdin = strings.NewReader(strings.Join(paths, "\x00") + "\x00")
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "HOME="+root, "XDG_CONFIG_HOME="+root)
	out, err := cmd.Output()
	if err != nil && cmd.ProcessState.ExitCode() != 1 {
		t.Fatalf("git check-ignore (these tests compare with git: install it): %v", err)
	}
	matched := map[string]bool{}
	for path := range strings.SplitSeq(string(out), "\x00") {
		if path != "" {
			matched[path] = true
		}
	}
	return matched
}

// TestPatternsAreGits compares with what git makes of each pattern alone: the
// last one of the list that matches decides.
func TestPatternsAreGits(t *testing.T) {
	p := newProject(t)
	base, count := t.TempDir(), 0
	rapid.Check(t, func(r *rapid.T) {
		count++
		p.root = filepath.Join(base, fmt.Sprint(count))
		for _, dir := range []string{"info", "objects", "refs"} {
			must(t, os.MkdirAll(filepath.Join(p.root, ".git", dir), 0o755))
		}
		must(t, os.WriteFile(filepath.Join(p.root, ".git/HEAD"), []byte("ref: refs/heads/main\n"), 0o644))
		growTree(r, p.root)
		files := p.look()
		var paths []string
		for e := range files.Entries() {
			paths = append(paths, e.Path)
		}
		list := rapid.SliceOfN(anyPattern.Filter(selects), 1, 3).Draw(r, "patterns")
		compiled, err := workspace.CompilePatterns(list)
		if err != nil {
			r.Skip(err)
		}
		last := map[string]string{}
		hits := map[string]bool{}
		for _, pattern := range list {
			body := strings.TrimPrefix(pattern, "!")
			for path := range gitMatches(r, p.root, body, paths) {
				last[path] = pattern
				hits[pattern] = true
			}
		}
		var want, got, lost, missing []string
		for _, path := range paths {
			if last[path] != "" && last[path][0] != '!' {
				want = append(want, path)
			}
		}
		for _, pattern := range list {
			if pattern[0] != '!' && !hits[pattern] {
				lost = append(lost, pattern)
			}
		}
		for _, m := range files.Select(compiled, func(e workspace.Entry) { got = append(got, e.Path) }) {
			missing = append(missing, list[m.Pattern])
		}
		if diff := cmp.Diff(want, got); diff != "" {
			r.Fatalf("%q: git selects (-), we (+):\n%s", list, diff)
		}
		// What lies in a directory that matches counts for git too, so that a
		// pattern without a match has none in either.
		if diff := cmp.Diff(lost, missing); diff != "" {
			r.Fatalf("%q: git misses (-), we (+):\n%s", list, diff)
		}
	})
}

// selects leaves out patterns that mean something else in a list than in a
// file: comments, and spaces at the end.
func selects(pattern string) bool {
	body := strings.TrimPrefix(pattern, "!")
	return body != "" && body[0] != '#' && body[0] != '!' && !strings.HasPrefix(body, "./") && body != "." &&
		strings.TrimRight(body, " \r\t") == body && strings.Trim(body, "/") != "" && !strings.HasSuffix(body, `\`)
}

func FuzzPatterns(f *testing.F) {
	for _, seed := range []string{"go.mod", "!**/*_test.go", "./", "**/", "!", "[", "a/[b-", "src/**/x?[!a]/", "\\"} {
		f.Add("**", seed)
	}
	f.Setenv("HOME", f.TempDir())
	root := f.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "src/a/b"), 0o755); err != nil {
		f.Fatal(err)
	}
	store, err := workspace.Open(filepath.Join(f.TempDir(), "state"), root, workspace.Options{})
	if err != nil {
		f.Fatal(err)
	}
	view, _, err := store.Look(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		p, err := workspace.CompilePatterns([]string{first, second})
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, m := range view.Select(p, func(e workspace.Entry) { seen[e.Path] = true }) {
			if m.List != 0 || m.Pattern < 0 || m.Pattern > 1 {
				t.Errorf("there is no pattern %+v", m)
			}
		}
		if len(seen) > 3 {
			t.Errorf("%d of 3 entries are selected", len(seen))
		}
	})
}
