package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/strata-ci/strata/internal/graph"
	"github.com/strata-ci/strata/internal/render"
	"github.com/strata-ci/strata/pipeline"
)

type pipelinesCmd struct {
	source
	JSON bool `help:"Print a JSON array."`
}

// pipelineEntry is a pipeline in the list of them.
type pipelineEntry struct {
	Name  string   `json:"name"`
	File  string   `json:"file"` // relative to the project with slashes, or absolute
	Line  int      `json:"line,omitempty"`
	Steps []string `json:"steps"`
}

// Run lists the pipelines as they are defined; it does not validate them.
func (c *pipelinesCmd) Run(ctx context.Context, a *app) error {
	_, all, err := a.load(ctx, c.source)
	if err != nil {
		return err
	}
	entries := make([]pipelineEntry, len(all))
	for i, p := range all {
		entries[i] = pipelineEntry{Name: p.Name, File: p.Pos.File, Line: p.Pos.Line, Steps: make([]string, len(p.Steps))}
		for j, step := range p.Steps {
			entries[i].Steps[j] = step.Name
		}
	}
	if c.JSON {
		return writeJSON(a.stdout, entries)
	}
	var t table
	for i, e := range entries {
		t = append(t, []string{e.Name, render.Count(len(e.Steps), "step"), all[i].Pos.String()})
	}
	return t.write(a.stdout, plainCell)
}

type renderCmd struct {
	source
	Pipeline string `arg:"" optional:"" complete:"pipeline" help:"Name of the pipeline; a project's only one needs none."`
	Schema   bool   `help:"Print the JSON Schema of the output instead."`
}

// Run prints the pipeline in its canonical form.
func (c *renderCmd) Run(ctx context.Context, a *app) error {
	if c.Schema {
		_, err := a.stdout.Write(pipeline.Schema())
		return err
	}
	p, err := a.valid(ctx, c.source, c.Pipeline)
	if err != nil {
		return err
	}
	_, err = a.stdout.Write(pipeline.Encode(p))
	return err
}

type graphCmd struct {
	source
	Pipeline string `arg:"" optional:"" complete:"pipeline" help:"Name of the pipeline; a project's only one needs none."`
	As       string `enum:"auto,text,dot,mermaid,svg" default:"auto" placeholder:"FORM" help:"Form of the drawing: text, dot (Graphviz), mermaid or svg. By default it is what the name of the output file says, or else text."`
	Output   string `short:"o" placeholder:"FILE" complete:"file" help:"Write to FILE, not to the standard output."`
}

// Run draws the pipeline.
func (c *graphCmd) Run(ctx context.Context, a *app) error {
	p, err := a.valid(ctx, c.source, c.Pipeline)
	if err != nil {
		return err
	}
	var drawing bytes.Buffer
	if err := drawFunc(c.As, c.Output)(&drawing, p); err != nil {
		return fmt.Errorf("draw the pipeline: %w", err)
	}
	if c.Output == "" || c.Output == "-" {
		_, err := a.stdout.Write(drawing.Bytes())
		return err
	}
	if err := os.WriteFile(a.path(c.Output), drawing.Bytes(), 0o644); err != nil {
		return invalidf("write the drawing to %s: %w", c.Output, plainCause(err))
	}
	return nil
}

// drawFunc returns what draws in a form, or in the form of a file's name.
func drawFunc(form, file string) func(io.Writer, *pipeline.Pipeline) error {
	extension := ""
	if form == "auto" {
		extension = filepath.Ext(file)
	}
	switch {
	case form == "dot", extension == ".dot", extension == ".gv":
		return graph.DOT
	case form == "mermaid", extension == ".mmd", extension == ".mermaid":
		return graph.Mermaid
	case form == "svg", extension == ".svg":
		return graph.SVG
	}
	return graph.Text
}

// writeJSON writes one JSON document for people and programs to read.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
