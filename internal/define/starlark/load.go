// Package starlark is the front end for .star files.
//
// In: files of one project. Out: the pipelines that they define, in the
// order of their definition, or an error that shows the line. What a file may
// do is bounded in steps, memory and reach: it never sees the clock, the
// network, the environment or a file outside the project, and it never runs a
// command.
//
// The language is Starlark with if and for at the top level, without while
// and recursion, and with these functions:
//
//	sh(command, …)             a step
//	step.sh(command, …)        a step that builds in another
//	wait(step, …)              a barrier: after = [barrier] is after all of its steps
//	pipeline(name, step, …)    a pipeline of the steps and of all that they need
//	forever(), ttl(duration), on_change(glob, …), none(), all_of(policy, …)
//	                           cache policies
package starlark

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/strata-ci/strata/internal/define/source"
	"github.com/strata-ci/strata/pipeline"
)

// Load executes files of a project and returns the pipelines that they
// define. Files are named by slash-separated paths relative to root, which
// also bounds what they can load. What they print goes to print, line by line.
//
// An error of a file is a *[source.Error]. When ctx ends, Load returns an
// error that wraps the context's.
func Load(ctx context.Context, root *os.Root, files []string, print func(string)) ([]*pipeline.Pipeline, error) {
	return load(ctx, root, files, print, defaultLimits)
}

func load(ctx context.Context, root *os.Root, files []string, print func(string), limits limits) ([]*pipeline.Pipeline, error) {
	s := &session{root: root, limits: limits, modules: make(map[string]*module)}
	thread := &starlark.Thread{
		Name:  "pipeline",
		Print: func(_ *starlark.Thread, msg string) { print(msg) },
		Load:  s.load,
	}
	s.predeclared = s.builtins()
	err := limits.run(ctx, thread, func() error {
		for _, file := range files {
			if _, err := s.execute(thread, path.Clean(file)); err != nil {
				return s.located(err, file)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.finish()
}

// session is one Load: the modules, and what they have defined.
type session struct {
	root        *os.Root
	limits      limits
	predeclared starlark.StringDict
	modules     map[string]*module // by path
	loading     []*module          // being executed, outermost first
	steps       []*step
	pipelines   []*definition
}

// module is one executed file.
type module struct {
	file    string
	text    source.Text
	calls   map[place]*syntax.CallExpr
	globals starlark.StringDict
	err     error
	library bool // another file loads it
}

// load implements the load statement.
func (s *session) load(thread *starlark.Thread, name string) (starlark.StringDict, error) {
	from := s.loading[len(s.loading)-1]
	file, err := loadPath(from.file, name)
	if err != nil {
		return nil, err
	}
	if i := s.loadingIndex(file); i >= 0 {
		var names []string
		for _, m := range s.loading[i:] {
			names = append(names, m.file)
		}
		return nil, loadError(fmt.Sprintf("load cycle: %s → %s", strings.Join(names, " → "), file))
	}
	if len(s.loading) >= s.limits.loads {
		return nil, loadError(fmt.Sprintf("files load each other more than %d deep", s.limits.loads))
	}
	m, err := s.execute(thread, file)
	if err != nil {
		return nil, err
	}
	m.library = true
	return m.globals, nil
}

// loadError is why a load statement failed.
type loadError string

func (e loadError) Error() string { return string(e) }

func (s *session) loadingIndex(file string) int {
	for i, m := range s.loading {
		if m.file == file {
			return i
		}
	}
	return -1
}

// loadPath resolves the name in a load statement of the file from.
func loadPath(from, name string) (string, error) {
	file := path.Join(path.Dir(from), name)
	if rest, ok := strings.CutPrefix(name, "//"); ok {
		file = path.Clean(rest)
	} else if path.IsAbs(name) {
		return "", loadError(fmt.Sprintf("load %q: an absolute path: write \"//…\" for a file below the project's root", name))
	}
	if name == "" || strings.ContainsAny(name, "\\\x00") || !fs.ValidPath(file) {
		return "", loadError(fmt.Sprintf("load %q: outside of the project: only files of the project can be loaded", name))
	}
	return file, nil
}

// execute runs a file once; again it returns the same module or error.
func (s *session) execute(thread *starlark.Thread, file string) (*module, error) {
	if m, ok := s.modules[file]; ok {
		return m, m.err
	}
	m := &module{file: file}
	s.modules[file] = m
	s.loading = append(s.loading, m)
	m.err = s.run(thread, m)
	s.loading = s.loading[:len(s.loading)-1]
	return m, m.err
}

func (s *session) run(thread *starlark.Thread, m *module) error {
	data, err := s.read(m.file)
	if err != nil {
		return err
	}
	m.text = source.NewText(data)
	options := &syntax.FileOptions{Set: true, TopLevelControl: true, GlobalReassign: true}
	file, err := options.Parse(m.file, data, 0)
	if err != nil {
		return s.located(err, m.file)
	}
	m.calls = prepare(file)
	program, err := starlark.FileProgram(file, s.predeclared.Has)
	if err != nil {
		return s.located(err, m.file)
	}
	m.globals, err = program.Init(thread, s.predeclared)
	m.globals.Freeze()
	if err != nil {
		return s.located(err, m.file)
	}
	return nil
}

// read returns a source file: a regular one, in the project, of bounded size.
func (s *session) read(file string) ([]byte, error) {
	info, err := s.root.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, loadError(fmt.Sprintf("read %s: there is no such file", file))
	case err != nil:
		return nil, loadError(fmt.Sprintf("read %s: %v", file, reason(err)))
	case !info.Mode().IsRegular():
		return nil, loadError(fmt.Sprintf("read %s: not a regular file", file))
	}
	f, err := s.root.Open(file)
	if err != nil {
		return nil, loadError(fmt.Sprintf("read %s: %v", file, reason(err)))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, s.limits.source+1))
	if err != nil {
		return nil, loadError(fmt.Sprintf("read %s: %v", file, reason(err)))
	}
	if int64(len(data)) > s.limits.source {
		return nil, loadError(fmt.Sprintf("read %s: the file is larger than %s: split it, or keep data out of it", file, pipeline.Bytes(s.limits.source)))
	}
	return data, nil
}

// reason is what went wrong with a file, without the path that the caller names.
func reason(err error) error {
	var pathError *fs.PathError
	if !errors.As(err, &pathError) {
		return err
	}
	if strings.Contains(pathError.Err.Error(), "escapes") {
		return errors.New("it leads outside of the project")
	}
	return pathError.Err
}
