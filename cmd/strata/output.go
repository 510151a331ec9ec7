package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/internal/render"
	"github.com/strata-ci/strata/internal/suggest"
)

// read passes the items of a run on to show. What is lost of a log is told
// beside it, and is an error after all that is left has been shown.
func (a *app) read(items render.Items, show func(render.Items) error) error {
	var lost error
	err := show(func(yield func(journal.Item, error) bool) {
		for item, err := range items {
			var damaged *journal.DamagedLogError
			if errors.As(err, &damaged) {
				lost = errors.Join(lost, err)
				continue
			}
			if !yield(item, err) {
				return
			}
		}
	})
	return errors.Join(err, lost)
}

type logsCmd struct {
	Step   string `arg:"" optional:"" complete:"past_step" help:"The step whose output is printed as it was, byte for byte. Default: all steps, each line after its step's name."`
	RunID  string `name:"run" short:"r" placeholder:"RUN" complete:"run" help:"ID of the run, or its beginning. Default: the project's latest run."`
	Follow bool   `short:"f" help:"Go on until the step, or the run, ends."`
}

// Run prints the output of one step or of all.
func (c *logsCmd) Run(ctx context.Context, a *app) error {
	run, err := a.findRun(ctx, c.RunID)
	if err != nil {
		return err
	}
	if c.Step == "" {
		items := run.Follow(ctx, journal.FollowOptions{SoFar: !c.Follow})
		return a.read(items, func(items render.Items) error { return render.Plain(a.stdout, items) })
	}
	if err := knownStep(run, c.Step); err != nil {
		return err
	}
	items := run.Follow(ctx, journal.FollowOptions{SoFar: !c.Follow, Step: c.Step})
	var cached *journal.Event
	err = a.read(items, func(items render.Items) error { cached, err = a.printOutput(items); return err })
	if err != nil || cached == nil {
		return err
	}
	return a.printCachedLog(ctx, cached)
}

// printCachedLog prints the output that a cached step once had.
func (a *app) printCachedLog(ctx context.Context, e *journal.Event) (err error) {
	home, err := a.stateDir()
	if err != nil {
		return err
	}
	s, err := a.openStore(home, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	var key plan.Key
	if err := key.UnmarshalText([]byte(e.Key)); err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	log, err := s.cache.Log(ctx, key)
	if err != nil {
		return fmt.Errorf("print the output that %s had in run %s: %w", e.Step, e.From.Run, err)
	}
	a.say("%s was cached: this is its output in run %s, on %s", e.Step, e.From.Run, e.From.Time.Local().Format("2006-01-02 15:04:05"))
	_, err = io.Copy(a.stdout, log)
	return errors.Join(err, log.Close())
}

// knownStep returns an error if the run does not have the step.
func knownStep(run *journal.Run, name string) error {
	names, labels, err := stepNames(run)
	if slices.Contains(names, name) {
		return nil // whoever reads on finds what is wrong with the rest
	}
	if err != nil {
		return err
	}
	return invalidf("run %s has no step %q%s: it has %s", run.ID(), name, suggest.HintName(name, names, labels), strings.Join(names, ", "))
}

// stepNames returns the names of a run's steps, and the labels that each has
// on the screen, empty for none.
func stepNames(run *journal.Run) (names, labels []string, err error) {
	events, err := run.Events()
	for _, s := range journal.Fold(events).Steps {
		names, labels = append(names, s.Name), append(labels, s.Label)
	}
	return names, labels, err
}

// printOutput writes output as it is, and says of a step that never ran why it
// has none. Of a cached step it returns the end.
func (a *app) printOutput(items render.Items) (cached *journal.Event, err error) {
	started := false
	for item, err := range items {
		switch {
		case err != nil:
			return nil, err
		case item.Output != nil:
			if _, err := a.stdout.Write(item.Output.Data); err != nil {
				return nil, fmt.Errorf("print the output of step %s: %w", item.Output.Step, err)
			}
		case item.Event.Type == journal.StepStarted:
			started, cached = true, nil
		case item.Event.Type == journal.StepFinished && item.Event.Status == journal.Cached && item.Event.From != nil:
			cached = item.Event
		case item.Event.Type == journal.StepFinished && !started:
			a.say("step %s did not run: %s", item.Event.Step, render.Ending(item.Event))
		}
	}
	return cached, nil
}

type eventsCmd struct {
	RunID  string `arg:"" name:"run" optional:"" complete:"run" help:"ID of the run, or its beginning. Default: the project's latest run."`
	Follow bool   `short:"f" help:"Go on until the run ends."`
	Output bool   `help:"Print the output of the steps too, as step_output lines."`
	Schema bool   `help:"Print the JSON Schema of an event instead."`
}

// Run prints the journal as it is.
func (c *eventsCmd) Run(ctx context.Context, a *app) error {
	if c.Schema {
		_, err := a.stdout.Write(journal.Schema())
		return err
	}
	run, err := a.findRun(ctx, c.RunID)
	if err != nil {
		return err
	}
	items := run.Follow(ctx, journal.FollowOptions{SoFar: !c.Follow, EventsOnly: !c.Output})
	return a.read(items, func(items render.Items) error { return render.JSON(a.stdout, items) })
}
