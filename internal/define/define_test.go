package define

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-ci/strata/pipeline"
)

// write makes a project with files and returns its root.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func loadProject(t *testing.T, root string) ([]*pipeline.Pipeline, error) {
	t.Helper()
	project, err := Find(root)
	if err != nil {
		t.Fatal(err)
	}
	return Load(context.Background(), project, func(string) {})
}

func names(pipelines []*pipeline.Pipeline) []string {
	var out []string
	for _, p := range pipelines {
		out = append(out, p.Name)
	}
	return out
}

func TestFindTheNearestProject(t *testing.T) {
	root := write(t, map[string]string{
		".strata/ci.star": "", ".strata/b.star": "", ".strata/_lib.star": "", ".strata/.x.star": "", ".strata/notes.md": "",
		"a/b/c/file":                "",
		"a/inner/.strata/deep.star": "",
	})
	for dir, want := range map[string]Project{
		"a/b/c":           {Root: root, Files: []string{".strata/b.star", ".strata/ci.star"}},
		".":               {Root: root, Files: []string{".strata/b.star", ".strata/ci.star"}},
		"a/inner":         {Root: filepath.Join(root, "a", "inner"), Files: []string{".strata/deep.star"}},
		"a/inner/.strata": {Root: filepath.Join(root, "a", "inner"), Files: []string{".strata/deep.star"}},
	} {
		got, err := Find(filepath.Join(root, filepath.FromSlash(dir)))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", dir, diff)
		}
	}
}

func TestFindWithoutAProject(t *testing.T) {
	root := write(t, map[string]string{"file": ""})
	project, err := Find(root)
	if !errors.Is(err, ErrNoProject) || !strings.Contains(err.Error(), "run `strata init`") || project.Root != root {
		t.Errorf("%v, %v; want the directory and an error that names strata init", project, err)
	}
	if _, err := Find(filepath.Join(root, "nowhere")); err == nil || errors.Is(err, ErrNoProject) {
		t.Errorf("a directory that does not exist: %v", err)
	}
	if _, err := Find(filepath.Join(root, "file")); err == nil || !strings.HasSuffix(err.Error(), "is not a directory") {
		t.Errorf("a file: %v", err)
	}
}

func TestLoadAllFiles(t *testing.T) {
	root := write(t, map[string]string{
		".strata/b.star":    "load(\"_lib.star\", \"step\")\npipeline(\"b\", step(\"x\"))\npipeline(\"b2\", step(\"y\"))",
		".strata/a.star":    "load(\"helpers.star\", \"h\")\npipeline(\"a\", sh(h))",
		".strata/_lib.star": "def step(c):\n    return sh(c)",
		// A file without a pipeline is a library.
		".strata/helpers.star": "h = \"echo\"",
	})
	pipelines, err := loadProject(t, root)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b", "b2"}, names(pipelines)); diff != "" {
		t.Error(diff)
	}
}

func TestLoadMessages(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"names in two files": {
			map[string]string{".strata/a.star": "s = sh(\"x\")\npipeline(\"ci\", s)", ".strata/b.star": "pipeline(\"ci\", sh(\"y\"))"},
			".strata/b.star:1:1: pipeline: the name \"ci\" is taken by the pipeline at .strata/a.star:2:1: give one of them another name\n    1 | pipeline(\"ci\", sh(\"y\"))\n      | ^",
		},
		"empty file": {
			map[string]string{".strata/ci.star": "\n"},
			"no pipeline is defined in .strata/ci.star: end the file with pipeline(\"ci\", step, …)",
		},
		"a step without a pipeline": {
			map[string]string{".strata/ci.star": "sh(\"go test ./...\")"},
			".strata/ci.star:1:1: the step \"go-test\" is in no pipeline: give it to pipeline(…), or remove it\n    1 | sh(\"go test ./...\")\n      | ^",
		},
		"no files": {
			map[string]string{".strata/README.md": ""},
			"ROOT/.strata has no pipeline files: write one, such as .strata/ci.star, or run `strata init`",
		},
		"two mistakes in two files": {
			map[string]string{".strata/a.star": "x = 1 +", ".strata/b.star": "y = ("},
			".strata/a.star:1:8: got end of file, want primary expression\n    1 | x = 1 +\n      |        ^",
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := write(t, c.files)
			_, err := loadProject(t, root)
			if err == nil {
				t.Fatal("no error")
			}
			got := strings.ReplaceAll(filepath.ToSlash(err.Error()), filepath.ToSlash(root), "ROOT")
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

const ir = `{"version": 1, "name": "ci", "steps": [
  {"name": "a", "command": "x"},
  {"name": "b", "command": "y", "builds_in": "aa"}
]}`

func TestLoadOneFile(t *testing.T) {
	root := write(t, map[string]string{
		".strata/ci.star": "pipeline(\"ci\", sh(\"x\"))",
		"other/p.star":    "load(\"lib.star\", \"s\")\npipeline(\"other\", s)",
		"other/lib.star":  "s = sh(\"x\")",
		"ci.json":         ir,
	})
	outside := write(t, map[string]string{"p.star": "load(\"lib.star\", \"s\")\npipeline(\"outside\", s)", "lib.star": "s = sh(\"x\")", "bad.star": "x = y", "p.json": ir, "p.yaml": ""})
	project, err := Find(root)
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		filepath.Join(root, "other", "p.star"): "other other/p.star:2:1 other/lib.star:1:5",
		filepath.Join(root, "ci.json"):         "ci ci.json:1:1 ci.json:2:3",
		filepath.Join(outside, "p.star"):       "outside OUT/p.star:2:1 OUT/lib.star:1:5",
		filepath.Join(outside, "p.json"):       "ci OUT/p.json:1:1 OUT/p.json:2:3",
	} {
		one, err := project.WithFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pipelines, err := Load(context.Background(), one, func(string) {})
		if err != nil || len(pipelines) != 1 {
			t.Errorf("%s: %v, %v", file, pipelines, err)
			continue
		}
		p := pipelines[0]
		got := p.Name + " " + p.Pos.String() + " " + p.Steps[0].Pos.String()
		if got = strings.ReplaceAll(got, filepath.ToSlash(outside), "OUT"); got != want {
			t.Errorf("%s: got %s, want %s", file, got, want)
		}
	}
	for file, want := range map[string]string{
		"bad.star":     "OUT/bad.star:1:5: undefined: y",
		"p.yaml":       "load OUT/p.yaml: unknown kind of pipeline file: use a .star file, or a .json file as `strata render` prints it",
		"nowhere.star": "OUT/nowhere.star: read nowhere.star: there is no such file",
		"nowhere.json": "read OUT/nowhere.json: there is no such file",
	} {
		one, err := project.WithFile(filepath.Join(outside, file))
		if err != nil {
			t.Fatal(err)
		}
		_, err = Load(context.Background(), one, func(string) {})
		if err == nil {
			t.Errorf("%s: no error", file)
			continue
		}
		got, _, _ := strings.Cut(strings.ReplaceAll(err.Error(), filepath.ToSlash(outside), "OUT"), "\n")
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s", file, got, want)
		}
	}
}

func TestUnreadableFiles(t *testing.T) {
	if runtime.GOOS == "windows" || os.Geteuid() == 0 {
		// Permissions do not stop root: a directory in place of the file does.
		root := write(t, map[string]string{".strata/ci.star/x": ""})
		if _, err := loadProject(t, root); err == nil || err.Error() != ".strata/ci.star: read .strata/ci.star: not a regular file" {
			t.Error(err)
		}
		return
	}
	root := write(t, map[string]string{".strata/ci.star": ""})
	if err := os.Chmod(filepath.Join(root, ".strata", "ci.star"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := loadProject(t, root); err == nil || err.Error() != ".strata/ci.star: read .strata/ci.star: permission denied" {
		t.Error(err)
	}
}

func TestExplainShowsTheLine(t *testing.T) {
	root := write(t, map[string]string{
		".strata/ci.star": "a = sh(\"x\", name = \"build\")\nb = a.sh(\"y\", name = \"build\", dir = \"..\")\npipeline(\"ci\", b)",
		"ci.json":         ir,
		"bad.json":        strings.Replace(ir, "builds_in", "build_in", 1),
	})
	pipelines, err := loadProject(t, root)
	if err != nil {
		t.Fatal(err)
	}
	err = pipeline.Validate(pipelines[0], pipeline.RunnerSet{})
	want := `.strata/ci.star:2:7: step "build": the name is taken by the step at .strata/ci.star:1:5: give one of them another name
    2 | b = a.sh("y", name = "build", dir = "..")
      |       ^
.strata/ci.star:2:7: step "build": the directory ".." contains '..': it must stay within the workspace
    2 | b = a.sh("y", name = "build", dir = "..")
      |       ^
.strata/ci.star:2:7: step "build": it builds in itself: remove that
    2 | b = a.sh("y", name = "build", dir = "..")
      |       ^`
	if diff := cmp.Diff(want, Explain(root, err)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	p, err := loadJSON(root, "ci.json")
	if err != nil {
		t.Fatal(err)
	}
	want = `ci.json:3:3: step "b": it builds in the step "aa", which does not exist (did you mean "a"?)
    3 |   {"name": "b", "command": "y", "builds_in": "aa"}
      |   ^`
	if diff := cmp.Diff(want, Explain(root, pipeline.Validate(p, pipeline.RunnerSet{}))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	_, err = loadJSON(root, "bad.json")
	want = `bad.json:3:33: unknown field "build_in" (did you mean "builds_in"?)
    3 |   {"name": "b", "command": "y", "build_in": "aa"}
      |                                 ^`
	if diff := cmp.Diff(want, Explain(root, err)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := Explain(root, errors.New("other")); got != "other" {
		t.Errorf("another error is explained as %q", got)
	}
}

func TestSelect(t *testing.T) {
	two := []*pipeline.Pipeline{{Name: "test"}, {Name: "build"}}
	if p, err := Select(two[:1], ""); err != nil || p.Name != "test" {
		t.Errorf("the only pipeline: %v, %v", p, err)
	}
	if p, err := Select(two, "build"); err != nil || p.Name != "build" {
		t.Errorf("by name: %v, %v", p, err)
	}
	for name, want := range map[string]string{
		"":      "the project has 2 pipelines: name one of build, test",
		"biuld": `unknown pipeline "biuld" (did you mean "build"?): there are build, test`,
		"x":     `unknown pipeline "x": there are build, test`,
	} {
		if _, err := Select(two, name); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", name, err, want)
		}
	}
}

// The same pipeline from both front ends has the same JSON.
func TestFrontEndsAgree(t *testing.T) {
	root := write(t, map[string]string{".strata/ci.star": `
a = sh(["make", "<all>"], name = "a", runner_args = {"b": 1, "a": [True]}, cache = all_of(forever(), on_change("x")))
pipeline("ci", a.sh("y"), a.sh("y", cache = none(), timeout = "90m"))
`})
	pipelines, err := loadProject(t, root)
	if err != nil {
		t.Fatal(err)
	}
	text := pipeline.Encode(pipelines[0])
	if err := os.WriteFile(filepath.Join(root, "ci.json"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := loadJSON(root, "ci.json")
	if err != nil {
		t.Fatal(err)
	}
	if again := pipeline.Encode(p); !bytes.Equal(text, again) {
		t.Error(cmp.Diff(string(text), string(again)))
	}
}
