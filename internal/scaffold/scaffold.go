// Package scaffold writes a project's first pipeline.
//
// In: a project's directory. Out: what the project is made of, and a commented
// .strata/ci.star that works for it. It runs nothing, changes no file that
// exists, and takes nothing from a project's files over into the pipeline but
// the names of directories.
package scaffold

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// PipelineFile is where Write puts the pipeline, slash-separated and relative to
// the project's directory.
const PipelineFile = ".strata/ci.star"

// Write detects what the project in dir is made of and writes a pipeline for it
// to [PipelineFile], whose path it returns. A file that is there already stays as
// it is: the error then matches [fs.ErrExist].
func Write(dir string) (string, error) {
	path := filepath.Join(dir, filepath.FromSlash(PipelineFile))
	if _, err := os.Lstat(path); err == nil {
		return "", existsError(path)
	}
	project, err := Detect(dir)
	if err != nil {
		return "", fmt.Errorf("look at the project: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("create the directory for pipelines: %w", err)
	}
	if err := create(path, Starlark(project)); err != nil {
		return "", err
	}
	return path, nil
}

func existsError(path string) error {
	return fmt.Errorf("%w: %s; edit it, or move it away and run `strata init` again", fs.ErrExist, path)
}

// create writes a file that appears with its whole content, or not at all.
func create(path, content string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".ci-*.tmp")
	if err != nil {
		return fmt.Errorf("create the pipeline: %w", err)
	}
	defer func() {
		if removeErr := os.Remove(f.Name()); err == nil && !errors.Is(removeErr, fs.ErrNotExist) {
			err = removeErr
		}
	}()
	_, err = f.WriteString(content)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("write the pipeline: %w", err)
	}
	return publish(f.Name(), path)
}

// publish gives the file its name, unless that is taken. A hard link cannot
// replace a file; file systems without hard links get a rename, which could, in
// the moment after the check.
func publish(temporary, path string) error {
	err := os.Link(temporary, path)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrExist):
		return existsError(path)
	}
	if _, err := os.Lstat(path); err == nil {
		return existsError(path)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("give the pipeline its name: %w", err)
	}
	return nil
}
