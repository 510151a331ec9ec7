package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/strata-ci/strata/internal/scaffold"
)

type initCmd struct{}

// Run writes a first pipeline and says what to do with it.
func (c *initCmd) Run(a *app) error {
	project, err := scaffold.Detect(a.dir)
	if err != nil {
		return fmt.Errorf("look at the project: %w", err)
	}
	_, err = scaffold.Write(a.dir)
	switch {
	case errors.Is(err, fs.ErrExist):
		return invalid(err)
	case errors.Is(err, fs.ErrPermission):
		return invalidf("write %s: %w; run `strata init` in a directory of yours", a.path(scaffold.PipelineFile), plainCause(err))
	case err != nil:
		return err
	}
	a.say("wrote %s: %s", scaffold.PipelineFile, found(project))
	a.say("next: read it, change what does not fit, and start it with `strata run`")
	return nil
}

// found says what a project is made of.
func found(p scaffold.Project) string {
	if len(p.Parts) == 0 {
		return "nothing known was found here, so it is only an example"
	}
	parts := make([]string, len(p.Parts))
	for i, part := range p.Parts {
		parts[i] = fmt.Sprintf("%s (%s)", part.Language, path.Join(part.Dir, part.Evidence))
	}
	return "found " + strings.Join(parts, ", ")
}
