package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/strata-ci/strata/internal/define"
	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/pipeline"
)

// completeTime bounds how long somebody who presses Tab waits for the names
// that a pipeline file computes.
const completeTime = time.Second

// completeCmd is what the completion scripts call: it prints the candidates for
// the last of the words, one a line. It exits with 1 where the shell should
// complete file names instead. It says nothing about errors: whoever presses
// Tab asks for a word.
type completeCmd struct {
	Args []string `arg:"" optional:""`
}

// candidate is a word that could come next.
type candidate struct {
	word string
	help string // one line, may be empty
}

// Run prints the candidates as the shell wants them, which the first argument
// names.
func (c *completeCmd) Run(ctx context.Context, a *app, parser *kong.Kong) error {
	if len(c.Args) == 0 {
		return exit(exitInvalid)
	}
	ctx, cancel := context.WithTimeout(ctx, completeTime)
	defer cancel()
	shell, words := c.Args[0], c.Args[1:]
	if len(words) == 0 {
		words = []string{""}
	}
	if shell == "bash" {
		words = joinEquals(words)
	}
	line := readLine(parser.Model.Node, words[:len(words)-1])
	quiet := *a
	quiet.stderr = nil
	found, files := line.candidates(ctx, &quiet, words[len(words)-1])
	if files {
		return exit(1)
	}
	for _, f := range found {
		if _, err := fmt.Fprintln(a.stdout, f.format(shell, words[len(words)-1])); err != nil {
			return err
		}
	}
	return nil
}

// joinEquals undoes what bash does to --flag=value: three words.
func joinEquals(words []string) []string {
	var out []string
	for i, w := range words {
		last := len(out) - 1
		switch {
		case w == "=" && last >= 0 && strings.HasPrefix(out[last], "--"):
			out[last] += "="
		case i > 0 && words[i-1] == "=" && last >= 0 && strings.HasSuffix(out[last], "=") && strings.HasPrefix(out[last], "--"):
			out[last] += w
		default:
			out = append(out, w)
		}
	}
	return out
}

func (c candidate) format(shell, word string) string {
	switch {
	case shell == "zsh" && c.help != "": // for _describe
		return strings.ReplaceAll(c.word, ":", `\:`) + ":" + c.help
	case shell == "fish" && c.help != "":
		return c.word + "\t" + c.help
	case shell != "bash":
		return c.word
	}
	if _, _, ok := strings.Cut(word, "="); ok && strings.HasPrefix(word, "--") {
		_, value, _ := strings.Cut(c.word, "=") // of which bash sees a word
		return value
	}
	return c.word
}

// commandLine is what the words before the one to be completed say.
type commandLine struct {
	node  *kong.Node
	flags map[string]string // values that flags were given, by the flag's name
	args  []string          // positional arguments
	owes  *kong.Flag        // the flag whose value comes next
}

// readLine reads the words before the one to be completed.
func readLine(root *kong.Node, words []string) commandLine {
	line := commandLine{node: root, flags: make(map[string]string)}
	for _, w := range words {
		flag, value, given := line.flag(w)
		switch {
		case line.owes != nil:
			line.flags[line.owes.Name] = w
			line.owes = nil
		case flag != nil && given:
			line.flags[flag.Name] = value
		case flag != nil && !flag.IsBool():
			line.owes = flag
		case strings.HasPrefix(w, "-"):
		case len(line.node.Children) > 0:
			line.enter(w)
		default:
			line.args = append(line.args, w)
		}
	}
	return line
}

func (l *commandLine) enter(command string) {
	for _, child := range l.node.Children {
		if child.Name == command {
			l.node = child
		}
	}
}

// flag returns the flag that a word is, and its value where the word has one.
func (l *commandLine) flag(word string) (flag *kong.Flag, value string, given bool) {
	name, value, given := strings.Cut(word, "=")
	for _, f := range l.allFlags() {
		if name == "--"+f.Name || f.Short != 0 && word == "-"+string(f.Short) {
			return f, value, given
		}
	}
	return nil, "", false
}

func (l *commandLine) allFlags() []*kong.Flag {
	return slices.Concat(l.node.AllFlags(true)...)
}

// candidates returns what the word can become; files says that it is the name
// of a file.
func (l *commandLine) candidates(ctx context.Context, a *app, word string) (found []candidate, files bool) {
	if dir := l.flags["directory"]; dir != "" && a.changeDir(dir) != nil {
		return nil, false
	}
	prefix := ""
	value := l.positional()
	if l.owes != nil {
		value = l.owes.Value
	} else if flag, _, given := l.flag(word); flag != nil && given {
		prefix, value = "--"+flag.Name+"=", flag.Value
	} else if strings.HasPrefix(word, "-") {
		return matching(l.flagCandidates(), word, ""), false
	} else if len(l.node.Children) > 0 {
		return matching(commandCandidates(l.node), word, ""), false
	}
	if value == nil {
		return nil, false
	}
	kind := value.Tag.Get("complete")
	if kind == "file" || kind == "dir" {
		return nil, true
	}
	all := l.values(ctx, a, kind)
	if value.Enum != "" {
		for _, word := range value.EnumSlice() {
			all = append(all, candidate{word: word})
		}
	}
	return matching(all, word, prefix), false
}

func matching(all []candidate, word, prefix string) []candidate {
	var found []candidate
	for _, c := range all {
		c.word = prefix + c.word
		c.help, _, _ = strings.Cut(c.help, "\n")
		if strings.HasPrefix(c.word, word) {
			found = append(found, c)
		}
	}
	return found
}

// positional returns the argument that comes next, nil where there is none.
func (l *commandLine) positional() *kong.Value {
	if i := len(l.args); i < len(l.node.Positional) {
		return l.node.Positional[i]
	}
	return nil
}

func (l *commandLine) flagCandidates() []candidate {
	var all []candidate
	for _, f := range l.allFlags() {
		all = append(all, candidate{"--" + f.Name, f.Help})
	}
	return all
}

func commandCandidates(node *kong.Node) []candidate {
	var all []candidate
	for _, child := range node.Children {
		if !child.Hidden {
			all = append(all, candidate{child.Name, child.Help})
		}
	}
	return all
}

// values returns the values of a kind that exist now; none where they cannot be
// found out.
func (l *commandLine) values(ctx context.Context, a *app, kind string) []candidate {
	switch kind {
	case "pipeline":
		return l.pipelineNames(ctx, a)
	case "step":
		return l.stepNames(ctx, a)
	case "past_step":
		return l.pastSteps(ctx, a)
	case "run":
		return runIDs(ctx, a)
	case "runner":
		return runnerNames(a)
	}
	return nil
}

func (l *commandLine) load(ctx context.Context, a *app) []*pipeline.Pipeline {
	project, err := a.project(source{File: l.flags["file"]})
	if err != nil {
		return nil
	}
	all, err := define.Load(ctx, project, func(string) {})
	if err != nil {
		return nil
	}
	return all
}

func (l *commandLine) pipelineNames(ctx context.Context, a *app) []candidate {
	var all []candidate
	for _, p := range l.load(ctx, a) {
		all = append(all, candidate{word: p.Name, help: p.Pos.String()})
	}
	return all
}

// stepNames returns the steps of the pipeline that the line names, or of all.
func (l *commandLine) stepNames(ctx context.Context, a *app) []candidate {
	var all []candidate
	for _, p := range l.load(ctx, a) {
		if len(l.args) > 0 && p.Name != l.args[0] {
			continue
		}
		for _, s := range p.Steps {
			all = append(all, candidate{s.Name, s.Label})
		}
	}
	return all
}

func (l *commandLine) pastSteps(ctx context.Context, a *app) []candidate {
	run, err := a.findRun(ctx, l.flags["run"])
	if err != nil {
		return nil
	}
	events, err := run.Events()
	if err != nil {
		return nil
	}
	var all []candidate
	for _, s := range journal.Fold(events).Steps {
		all = append(all, candidate{s.Name, s.Label})
	}
	return all
}

// runIDs returns the latest runs, newest first.
func runIDs(ctx context.Context, a *app) []candidate {
	const most = 20
	var all []candidate
	// A shell has no place for errors.
	_ = a.withStore(ctx, func(s *store) error {
		list, err := s.history.List(ctx, "", most)
		for _, r := range list {
			all = append(all, candidate{r.ID, r.Pipeline + " " + runStatus(r)})
		}
		return err
	})
	return all
}

func runnerNames(a *app) []candidate {
	runners, err := a.runnerSet()
	if err != nil {
		return nil // a shell has no place for errors
	}
	var all []candidate
	for _, name := range runners.Names {
		all = append(all, candidate{word: name})
	}
	return all
}
