// Package define finds a project's pipeline files and turns them into
// pipelines with the front end that each file needs.
//
// In: a project, or one file. Out: pipelines with their places, not yet
// validated; and errors shown with their source lines. It never runs a step
// and never writes.
package define

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/strata-ci/strata/internal/define/source"
	"github.com/strata-ci/strata/internal/define/starlark"
	"github.com/strata-ci/strata/internal/suggest"
	"github.com/strata-ci/strata/pipeline"
)

// Dir is the directory of a project that holds its pipeline files.
const Dir = ".strata"

// Project is a project's root and its pipeline files.
type Project struct {
	// Root is absolute.
	Root string
	// Files are relative to Root with slashes, or absolute where they are not
	// below it.
	Files []string
}

// ErrNoProject says that no directory upwards has pipeline files.
var ErrNoProject = errors.New("no pipeline files: there is no " + Dir + " directory here or above; run `strata init` to make one")

// Find returns the project that dir is in: the nearest directory upwards with
// a .strata directory. Without one the project is dir itself, without files,
// and the error is [ErrNoProject].
func Find(dir string) (Project, error) {
	start, err := filepath.Abs(dir)
	if err != nil {
		return Project{}, fmt.Errorf("find the project: %w", err)
	}
	if info, err := os.Stat(start); err != nil {
		return Project{}, fmt.Errorf("find the project: %w", err)
	} else if !info.IsDir() {
		return Project{}, fmt.Errorf("find the project: %s is not a directory", start)
	}
	for at := start; ; at = filepath.Dir(at) {
		if info, err := os.Stat(filepath.Join(at, Dir)); err == nil && info.IsDir() {
			files, err := list(at)
			return Project{Root: at, Files: files}, err
		}
		if at == filepath.Dir(at) {
			return Project{Root: start}, fmt.Errorf("%s: %w", start, ErrNoProject)
		}
	}
}

// list returns the pipeline files of a project in order: those in .strata
// that end in .star and do not begin with an underscore or a dot.
func list(root string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(root, Dir))
	if err != nil {
		return nil, fmt.Errorf("list the pipeline files: %w", err)
	}
	var files []string
	for _, e := range entries {
		if name := e.Name(); strings.HasSuffix(name, ".star") && !strings.HasPrefix(name, "_") && !strings.HasPrefix(name, ".") {
			files = append(files, Dir+"/"+name)
		}
	}
	return files, nil
}

// WithFile returns the project with one file, a .star file or a .json file of
// the IR, in place of its own. A relative path is relative to the process's
// working directory.
func (p Project) WithFile(file string) (Project, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return Project{}, fmt.Errorf("find the file: %w", err)
	}
	p.Files = []string{filepath.ToSlash(abs)}
	if rel, err := filepath.Rel(p.Root, abs); err == nil && filepath.IsLocal(rel) {
		p.Files[0] = filepath.ToSlash(rel)
	}
	return p, nil
}

// Load returns the pipelines of all files of a project, in order. What the
// files print goes to print. None at all is an error.
//
// For a file that is not below the root, its own directory bounds what it can
// load, and places name it by its absolute path.
func Load(ctx context.Context, project Project, print func(string)) ([]*pipeline.Pipeline, error) {
	if len(project.Files) == 0 {
		return nil, fmt.Errorf("%s has no pipeline files: write one, such as %s/ci.star, or run `strata init`", filepath.Join(project.Root, Dir), Dir)
	}
	var pipelines []*pipeline.Pipeline
	var stars []string
	for _, file := range project.Files {
		switch {
		case strings.HasSuffix(file, ".json"):
			p, err := loadJSON(project.Root, file)
			if err != nil {
				return nil, err
			}
			pipelines = append(pipelines, p)
		case strings.HasSuffix(file, ".star"):
			stars = append(stars, file)
		default:
			return nil, fmt.Errorf("load %s: unknown kind of pipeline file: use a .star file, or a .json file as `strata render` prints it", file)
		}
	}
	if len(stars) > 0 {
		more, err := loadStars(ctx, project.Root, stars, print)
		if err != nil {
			return nil, err
		}
		pipelines = append(pipelines, more...)
	}
	if len(pipelines) == 0 {
		return nil, fmt.Errorf("no pipeline is defined in %s: end the file with pipeline(\"ci\", step, …)", strings.Join(project.Files, ", "))
	}
	return pipelines, nil
}

func loadStars(ctx context.Context, root string, files []string, print func(string)) ([]*pipeline.Pipeline, error) {
	if filepath.IsAbs(files[0]) { // the only one: see WithFile
		dir, name := filepath.Split(files[0])
		pipelines, err := loadStars(ctx, dir, []string{name}, print)
		return absolute(dir, pipelines, err)
	}
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("open the project: %w", err)
	}
	defer r.Close()
	return starlark.Load(ctx, r, files, print)
}

// absolute makes the files of all positions absolute.
func absolute(dir string, pipelines []*pipeline.Pipeline, err error) ([]*pipeline.Pipeline, error) {
	fix := func(pos *pipeline.Position) {
		if pos.File != "" {
			pos.File = filepath.ToSlash(filepath.Join(dir, filepath.FromSlash(pos.File)))
		}
	}
	for _, p := range pipelines {
		fix(&p.Pos)
		for i := range p.Steps {
			fix(&p.Steps[i].Pos)
		}
	}
	for _, e := range sourceErrors(err) {
		fix(&e.Pos)
		for i := range e.Calls {
			fix(&e.Calls[i].Pos)
		}
	}
	return pipelines, err
}

func sourceErrors(err error) []*source.Error {
	switch e := err.(type) { //nolint:errorlint // joined errors are taken apart, one by one
	case *source.Error:
		return []*source.Error{e}
	case interface{ Unwrap() []error }:
		var all []*source.Error
		for _, inner := range e.Unwrap() {
			all = append(all, sourceErrors(inner)...)
		}
		return all
	}
	return nil
}

func loadJSON(root, file string) (*pipeline.Pipeline, error) {
	data, err := read(root, file, pipeline.MaxSize)
	if err != nil {
		return nil, err
	}
	p, err := pipeline.Decode(data)
	var faults pipeline.Faults
	if errors.As(err, &faults) {
		for i := range faults {
			faults[i].Pos.File = file
		}
		return nil, faults
	} else if err != nil {
		return nil, fmt.Errorf("load %s: %w", file, err)
	}
	p.Pos.File = file
	for i := range p.Steps {
		p.Steps[i].Pos.File = file
	}
	return p, nil
}

// read returns a regular file of at most limit bytes.
func read(root, file string, limit int64) ([]byte, error) {
	path := filepath.FromSlash(file)
	if !filepath.IsAbs(path) {
		path = filepath.Join(root, path)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("read %s: there is no such file", file)
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", file, err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("read %s: not a regular file", file)
	case info.Size() > limit:
		return nil, fmt.Errorf("read %s: the file is larger than %s", file, pipeline.Bytes(limit))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return data, nil
}

// Select returns the pipeline with that name. The empty name is for a project
// with one pipeline.
func Select(pipelines []*pipeline.Pipeline, name string) (*pipeline.Pipeline, error) {
	names := make([]string, len(pipelines))
	for i, p := range pipelines {
		if p.Name == name {
			return p, nil
		}
		names[i] = p.Name
	}
	slices.Sort(names)
	list := strings.Join(names, ", ")
	switch {
	case len(pipelines) == 0:
		return nil, errors.New("there are no pipelines")
	case name == "" && len(pipelines) == 1:
		return pipelines[0], nil
	case name == "":
		return nil, fmt.Errorf("the project has %d pipelines: name one of %s", len(pipelines), list)
	}
	are := "there are "
	if len(names) == 1 {
		are = "there is "
	}
	return nil, fmt.Errorf("unknown pipeline %q%s: %s%s", name, suggest.Hint(name, names), are, list)
}

// Explain returns the text of an error as it is shown to people: each fault
// of a pipeline with its source line, where root has the file. Other errors
// are as they are.
func Explain(root string, err error) string {
	var faults pipeline.Faults
	if !errors.As(err, &faults) {
		return err.Error()
	}
	texts := make(map[string]source.Text)
	line := func(pos pipeline.Position) string {
		text, known := texts[pos.File]
		if !known {
			if data, err := read(root, pos.File, pipeline.MaxSize); err == nil {
				text = source.NewText(data)
			}
			texts[pos.File] = text // an unreadable file has no lines to show
		}
		return text.Line(pos.Line)
	}
	const enough = 50
	var shown []string
	for i, f := range faults {
		if i == enough {
			shown = append(shown, fmt.Sprintf("… and %d more", len(faults)-enough))
			break
		}
		s := f.Error()
		if f.Pos.File != "" {
			if excerpt := source.Excerpt(f.Pos, line(f.Pos)); excerpt != "" {
				s += "\n" + excerpt
			}
		}
		shown = append(shown, s)
	}
	return strings.Join(shown, "\n")
}
