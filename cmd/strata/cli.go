package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/strata-ci/strata/internal/suggest"
)

// cli is the grammar of the command line. A field's `complete` tag says which
// values the shell offers for it; see complete.go.
type cli struct {
	Dir string `name:"directory" short:"C" placeholder:"DIR" complete:"dir" help:"Change to DIR first."`

	Run       runCmd       `cmd:"" group:"run" help:"Run a pipeline."`
	Init      initCmd      `cmd:"" group:"run" help:"Write a first pipeline for the project."`
	Pipelines pipelinesCmd `cmd:"" group:"run" help:"List the project's pipelines."`
	Graph     graphCmd     `cmd:"" group:"run" help:"Draw a pipeline."`
	Render    renderCmd    `cmd:"" group:"run" help:"Print a pipeline as JSON."`

	Runs   runsCmd   `cmd:"" group:"past" help:"List runs."`
	Show   showCmd   `cmd:"" group:"past" help:"Show a run."`
	Why    whyCmd    `cmd:"" group:"past" help:"Tell why a step ran, or was skipped."`
	Logs   logsCmd   `cmd:"" group:"past" help:"Print the output of steps."`
	Events eventsCmd `cmd:"" group:"past" help:"Print the events of a run as JSON lines."`

	Cache      cacheCmd      `cmd:"" group:"setup" help:"Look at what is kept of earlier runs, and remove it."`
	Doctor     doctorCmd     `cmd:"" group:"setup" help:"Check what this machine can do."`
	Completion completionCmd `cmd:"" group:"setup" help:"Print a completion script for a shell."`
	Version    versionCmd    `cmd:"" group:"setup" help:"Print the version."`

	Complete completeCmd `cmd:"" name:"__complete" hidden:"" passthrough:"" help:"Print what could come next on a command line."`
	Docs     docsCmd     `cmd:"" name:"__docs" hidden:"" help:"Write the reference of the command line."`
}

const description = `Strata runs pipelines: every step in a sandbox of its own, every step from its parent's snapshot.`

// newParser returns the parser of the command line, which fills in c. asked is
// set once help has been asked for and given.
func newParser(c *cli, a *app, asked *bool) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("strata"),
		kong.Description(description),
		kong.Writers(a.stdout, a.stderr),
		kong.Exit(func(int) { *asked = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true, WrapUpperBound: 100}),
		kong.ExplicitGroups([]kong.Group{
			{Key: "run", Title: "Pipelines:"},
			{Key: "past", Title: "Runs:"},
			{Key: "setup", Title: "This machine:"},
		}),
	)
}

// main runs one command line, without the program's name, and returns the exit
// code.
func (a *app) main(ctx context.Context, args []string) int {
	return report(a.stderr, a.run(ctx, args))
}

func (a *app) run(ctx context.Context, args []string) error {
	var c cli
	var asked bool
	parser, err := newParser(&c, a, &asked)
	if err != nil {
		return fmt.Errorf("build the command line: %w", err)
	}
	if len(args) == 0 {
		parser.Stdout = a.stderr
		_, _ = parser.Parse([]string{"--help"})
		return exit(exitInvalid)
	}
	parsed, err := parser.Parse(habits(args))
	if asked {
		return nil
	}
	if err != nil {
		return usageError(parser.Model, err)
	}
	if c.Dir != "" {
		if err := a.changeDir(c.Dir); err != nil {
			return err
		}
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	return parsed.Run(a)
}

// habits turns what people type out of habit into what strata knows.
func habits(args []string) []string {
	switch {
	case args[0] == "help":
		return append(args[1:len(args):len(args)], "--help")
	case args[0] == "--version":
		return append([]string{"version"}, args[1:]...)
	}
	return args
}

// usageError is a mistake on the command line, with where to read on.
func usageError(model *kong.Application, err error) error {
	var parse *kong.ParseError
	if !errors.As(err, &parse) || parse.Context == nil {
		return invalid(err)
	}
	node := model.Node
	if selected := parse.Context.Selected(); selected != nil {
		node = selected
	}
	return invalidf("%s\nsee %s --help", plainUsage(node, err.Error()), node.FullPath())
}

// plainUsage says in plain words what the parser says of the words that follow
// a command, or of those at the beginning.
func plainUsage(node *kong.Node, message string) string {
	if word, ok := strings.CutPrefix(message, "unknown flag "); ok {
		word, _, _ = strings.Cut(word, ", did you mean ")
		return "unknown flag " + word + suggest.Hint(word, flagNames(node))
	}
	if word, ok := strings.CutPrefix(message, "unexpected argument "); ok && len(node.Children) > 0 {
		word, _, _ = strings.Cut(word, ", did you mean ")
		return fmt.Sprintf("unknown command %q%s", word, suggest.Hint(word, commandNames(node)))
	}
	if flag, _, ok := strings.Cut(message, ": expected string value but got \"EOL\""); ok {
		return flag + " needs a value"
	}
	return strings.Replace(message, "expected a valid 64 bit int", "expected a whole number", 1)
}

func flagNames(node *kong.Node) []string {
	var names []string
	for _, group := range node.AllFlags(true) {
		for _, f := range group {
			names = append(names, "--"+f.Name)
		}
	}
	return names
}

func commandNames(node *kong.Node) []string {
	var names []string
	for _, c := range node.Children {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	return names
}
