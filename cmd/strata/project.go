package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/strata-ci/strata/internal/define"
	"github.com/strata-ci/strata/pipeline"
)

// source names the pipelines that a command works on.
type source struct {
	File string `short:"f" placeholder:"FILE" complete:"file" help:"Read the pipelines of FILE, not those of the project."`
}

// pipelineError is what is wrong with a project's pipelines. Its text shows the
// lines of the source.
type pipelineError struct {
	root string
	err  error
}

// Error returns the text for people, in which places stand at the beginning of
// a line, as editors and terminals look for them.
func (e *pipelineError) Error() string {
	return fmt.Sprintf("the pipelines of %s are not usable:\n%s", e.root, define.Explain(e.root, e.err))
}

// Unwrap returns the error.
func (e *pipelineError) Unwrap() error { return e.err }

// project returns the project that the command works in, with its files or
// with the one that s names.
func (a *app) project(s source) (define.Project, error) {
	project, err := define.Find(a.dir)
	if s.File != "" && (err == nil || errors.Is(err, define.ErrNoProject)) {
		project, err = project.WithFile(a.path(s.File))
	}
	if err != nil {
		return define.Project{}, invalid(err)
	}
	return project, nil
}

// load returns the project and all its pipelines, not yet validated.
func (a *app) load(ctx context.Context, s source) (define.Project, []*pipeline.Pipeline, error) {
	project, err := a.project(s)
	if err != nil {
		return define.Project{}, nil, err
	}
	all, err := define.Load(ctx, project, func(line string) {
		_, _ = fmt.Fprintln(a.stderr, clean(line)) // there is nowhere else to say it
	})
	if err != nil {
		return define.Project{}, nil, invalid(&pipelineError{root: project.Root, err: err})
	}
	return project, all, nil
}

// choose returns the project and its pipeline of that name, not yet validated.
// The name may be empty where there is one pipeline.
func (a *app) choose(ctx context.Context, s source, name string) (define.Project, *pipeline.Pipeline, error) {
	project, all, err := a.load(ctx, s)
	if err != nil {
		return define.Project{}, nil, err
	}
	p, err := define.Select(all, name)
	if err != nil {
		return define.Project{}, nil, invalid(err)
	}
	return project, p, nil
}

// validate checks a pipeline against the runners that exist.
func validate(project define.Project, p *pipeline.Pipeline, runners pipeline.RunnerSet) error {
	if err := pipeline.Validate(p, runners); err != nil {
		return invalid(&pipelineError{root: project.Root, err: err})
	}
	return nil
}

// valid returns the project's pipeline of that name, validated.
func (a *app) valid(ctx context.Context, s source, name string) (*pipeline.Pipeline, error) {
	project, p, err := a.choose(ctx, s, name)
	if err != nil {
		return nil, err
	}
	runners, err := a.runnerSet()
	if err != nil {
		return nil, err
	}
	return p, validate(project, p, runners)
}
