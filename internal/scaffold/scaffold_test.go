package scaffold

import (
	"context"
	"errors"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/strata-ci/strata/internal/define/starlark"
	"github.com/strata-ci/strata/pipeline"
)

var update = flag.Bool("update", false, "write the expected pipelines anew")

// wanted is the file of an archive that holds the expected pipeline.
const wanted = "want.star"

// projects returns the archives of testdata: a project's files, and what is
// wanted for it.
func projects(t testing.TB) map[string]*txtar.Archive {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no projects in testdata: %v", err)
	}
	all := make(map[string]*txtar.Archive)
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(path), ".txtar")] = archive
	}
	return all
}

// unpack writes a project to a directory of its own.
func unpack(t testing.TB, archive *txtar.Archive) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range archive.Files {
		if f.Name == wanted {
			continue
		}
		path := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// load reads the written pipeline as `strata run` does.
func load(t testing.TB, dir string) *pipeline.Pipeline {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	loaded, err := starlark.Load(context.Background(), root, []string{PipelineFile}, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	if len(loaded) != 1 {
		t.Fatalf("%d pipelines", len(loaded))
	}
	if err := pipeline.Validate(loaded[0], pipeline.RunnerSet{}); err != nil {
		t.Fatal(err)
	}
	return loaded[0]
}

func TestWriteGolden(t *testing.T) {
	for name, archive := range projects(t) {
		t.Run(name, func(t *testing.T) {
			dir := unpack(t, archive)
			path, err := Write(dir)
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				setWanted(t, name, archive, got)
			}
			// What is the same in every pipeline is not in the archives.
			body := strings.TrimSuffix(strings.TrimPrefix(string(got), introduction), more)
			if len(body) != len(got)-len(introduction)-len(more) {
				t.Errorf("the introduction or the end is missing:\n%s", got)
			}
			if diff := cmp.Diff(want(archive), body); diff != "" {
				t.Errorf("the pipeline (-want +got); go test -update accepts it:\n%s", diff)
			}
			load(t, dir)
		})
	}
}

func want(archive *txtar.Archive) string {
	for _, f := range archive.Files {
		if f.Name == wanted {
			return string(f.Data)
		}
	}
	return ""
}

func setWanted(t *testing.T, name string, archive *txtar.Archive, got []byte) {
	t.Helper()
	body := strings.TrimSuffix(strings.TrimPrefix(string(got), introduction), more)
	var files []txtar.File
	for _, f := range archive.Files {
		if f.Name != wanted {
			files = append(files, f)
		}
	}
	archive.Files = append(files, txtar.File{Name: wanted, Data: []byte(body)})
	if err := os.WriteFile(filepath.Join("testdata", name+".txtar"), txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestCommandsWork runs the steps of the projects whose archive begins with
// "needs: TOOLS", where this machine has the tools.
func TestCommandsWork(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the commands of the pipelines are for a POSIX shell")
	}
	for name, archive := range projects(t) {
		needs, ok := strings.CutPrefix(string(archive.Comment), "needs: ")
		if !ok {
			continue
		}
		t.Run(name, func(t *testing.T) {
			for _, tool := range strings.Fields(needs) {
				if _, err := exec.LookPath(tool); err != nil {
					t.Skipf("install %s to run the steps of this project", tool)
				}
			}
			dir := unpack(t, archive)
			if _, err := Write(dir); err != nil {
				t.Fatal(err)
			}
			for _, s := range load(t, dir).Steps {
				argv := s.Command.Argv()
				cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
				cmd.Dir = filepath.Join(dir, filepath.FromSlash(s.Dir))
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%s: %s: %v\n%s", s.Name, s.Command, err, out)
				}
			}
		})
	}
}

func TestWriteKeepsAnExistingPipeline(t *testing.T) {
	dir := unpack(t, projects(t)["go"])
	path, err := Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Write(dir)
	if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("got %v", err)
	}
	if got, _ := os.ReadFile(path); string(got) != "mine" {
		t.Errorf("the pipeline was changed to %q", got)
	}
	// Not even in the moment after the check.
	if err := create(path, "other"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v", err)
	}
	if got, _ := os.ReadFile(path); string(got) != "mine" {
		t.Errorf("the pipeline was changed to %q", got)
	}
}

func TestWriteAddsNothingElse(t *testing.T) {
	dir := t.TempDir()
	if _, err := Write(dir); err != nil {
		t.Fatal(err)
	}
	var names []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		names = append(names, filepath.ToSlash(rel))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{".", ".strata", ".strata/ci.star"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestWriteSaysWhatWentWrong(t *testing.T) {
	gone := filepath.Join(t.TempDir(), "gone")
	if _, err := Write(gone); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "gone") {
		t.Errorf("got %v for a directory that does not exist", err)
	}
	blocked := t.TempDir()
	if err := os.WriteFile(filepath.Join(blocked, ".strata"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(blocked); err == nil || !strings.Contains(err.Error(), ".strata") {
		t.Errorf("got %v where .strata is a file", err)
	}
}

// FuzzDetect: whatever a project's files hold, the pipeline is valid.
func FuzzDetect(f *testing.F) {
	for _, archive := range projects(f) {
		for _, file := range archive.Files {
			f.Add(filepath.Base(file.Name), file.Data)
		}
	}
	f.Add("package.json", []byte(`{"scripts":{"test":"\"\n)","lint":1}}`))
	f.Add("package.json", []byte(strings.Repeat("[", 1<<16)))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		dir := t.TempDir()
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		for _, name := range []string{name, "package.json", "pyproject.toml", "CMakeLists.txt", "Makefile"} {
			if strings.ContainsAny(name, `/\`) {
				continue
			}
			// A name that the system does not take is no project's.
			_ = root.WriteFile(name, data, 0o644)
		}
		if _, err := Write(dir); err != nil {
			t.Fatal(err)
		}
		load(t, dir)
	})
}
