package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/strata-ci/strata/internal/define"
	"github.com/strata-ci/strata/internal/engine"
	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/internal/records"
	"github.com/strata-ci/strata/internal/render"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// runCmd is `strata run`.
type runCmd struct {
	Pipeline string `arg:"" optional:"" complete:"pipeline" help:"Name of the pipeline; a project's only one needs none."`

	source
	Jobs      int               `short:"j" placeholder:"N" help:"Run at most N steps at once. Default: the number of processors."`
	KeepGoing bool              `short:"k" help:"After a failure, run on what does not depend on it."`
	Step      []string          `placeholder:"NAME" complete:"step" help:"Run only this step and what it needs. Can be repeated."`
	From      string            `placeholder:"STEP" complete:"step" help:"Run only this step, all after it, and what they need."`
	NoCache   bool              `help:"Run every step, and use no earlier results; new ones are kept."`
	DryRun    bool              `help:"Print what would run and why, and change nothing at all. With --format json, as a JSON array."`
	Runner    string            `placeholder:"NAME" complete:"runner" help:"Run steps that name no runner with this one."`
	Env       map[string]string `placeholder:"K=V" help:"Set a variable for every step. Can be repeated."`
	Format    string            `enum:"auto,tty,plain,json" default:"auto" placeholder:"FORM" help:"How to show the run: tty, plain or json. Default: tty on a terminal, else plain."`
}

// Run runs a pipeline and reports how it ended as the exit code.
func (c *runCmd) Run(ctx context.Context, a *app) error {
	if c.Jobs < 0 {
		return invalidf("--jobs %d: at least one step must be able to run", c.Jobs)
	}
	if c.Jobs == 0 {
		c.Jobs = runtime.NumCPU()
	}
	project, p, err := a.choose(ctx, c.source, c.Pipeline)
	if err != nil {
		return err
	}
	if c.DryRun {
		return c.dryRun(ctx, a, project, p)
	}
	home, err := a.makeStateDir()
	if err != nil {
		return err
	}
	if info, err := os.Stat(home); err == nil {
		if note := othersState(home, info); note != "" {
			a.say("%s", note)
		}
	}
	// From here on things are made that have to be cleaned up.
	ctx, kill, release := interrupts(ctx)
	defer release()
	s, runners, err := a.openAll(ctx, home)
	if err != nil {
		return err
	}
	var notes []error
	made, err := c.plan(project, p, &runners.registry)
	if err == nil {
		notes, err = c.execute(ctx, a, project, s.engine(a, runners.reapers()), engine.Request{
			Plan: made, Project: project.Root, Jobs: c.Jobs, KeepGoing: c.KeepGoing, NoCache: c.NoCache,
			Notices: runners.notes(made, c.Runner), Kill: kill,
		})
	}
	if closeErr := errors.Join(runners.close(), a.finish(ctx, s, append(notes, err)...)); closeErr != nil && err == nil {
		err = fmt.Errorf("clean up after the run: %w", closeErr)
	}
	return err
}

func (c *runCmd) plan(project define.Project, p *pipeline.Pipeline, registry *runner.Registry) (*plan.Plan, error) {
	made, err := plan.Make(p, registry, plan.Options{Only: c.Step, From: c.From, Runner: c.Runner, Env: c.Env})
	if err != nil {
		return nil, invalid(planError(project, err))
	}
	return made, nil
}

// dryRun prints the plan. It starts no runner, and so changes nothing at all.
func (c *runCmd) dryRun(ctx context.Context, a *app, project define.Project, p *pipeline.Pipeline) (err error) {
	home, err := a.stateDir()
	if err != nil {
		return err
	}
	s, err := a.openStore(home, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	runners, err := openRunners(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, runners.close()) }()
	made, err := c.plan(project, p, &runners.registry)
	if err != nil {
		return err
	}
	files, err := engine.Look(ctx, home, project.Root)
	if err != nil {
		return err
	}
	facts := plan.Facts{
		Project: project.Root, Files: files, Past: engine.Past(s.cache, s.history), Now: a.now(), NoCache: c.NoCache, Check: plan.CheckExists,
	}
	err = made.Decide(ctx, facts)
	if records.IsDamaged(err) {
		a.say("no earlier results are used: %v", err)
		facts.Past = nil
		err = made.Decide(ctx, facts)
	}
	if faults := pipeline.Faults(nil); errors.As(err, &faults) {
		return invalid(planError(project, err))
	}
	if err != nil {
		return err
	}
	return printPlan(a, made, c.Format == "json")
}

// execute carries the request out, and shows it. It returns what went wrong
// without changing the verdict; what it returns as damage of the records is for
// the caller to tell.
func (c *runCmd) execute(ctx context.Context, a *app, project define.Project, e *engine.Engine, req engine.Request) (notes []error, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req.Watch = func(run *journal.Run) error {
		err := c.watch(a, run)
		if err != nil {
			cancel(fmt.Errorf("the run cannot be shown any more: %w", plainCause(err)))
		}
		return err
	}
	result, err := e.Run(ctx, req)
	if err != nil {
		return result.Notes, err
	}
	for _, note := range result.Notes {
		if !records.IsDamaged(note) {
			a.say("%v", note)
		}
	}
	if result.Faults != nil && c.Format == "json" { // else it was shown
		return result.Notes, invalid(planError(project, result.Faults))
	}
	if result.WatchErr != nil && !closedPipe(result.WatchErr) {
		a.say("show the run: %v", result.WatchErr)
	}
	if code := engine.ExitCode(result.Status); code != exitPassed {
		return result.Notes, exit(code)
	}
	return result.Notes, nil
}

// planError shows faults of the pipeline with their source; other errors are
// the command line's.
func planError(project define.Project, err error) error {
	var faults pipeline.Faults
	if errors.As(err, &faults) {
		return &pipelineError{root: project.Root, err: err}
	}
	return err
}

// watch shows the run until its end.
func (c *runCmd) watch(a *app, run *journal.Run) error {
	// Not the run's own context: a cancelled run is followed to its end too.
	ctx := context.Background()
	items := run.Follow(ctx, journal.FollowOptions{})
	terminal, isTerminal := render.OpenTerminal(a.stderr, a.getenv)
	switch {
	case c.Format == "json":
		return render.JSON(a.stdout, items)
	case c.Format == "tty", c.Format == "auto" && isTerminal:
		return render.TTY(ctx, terminal, items)
	default:
		return render.Plain(a.stderr, items)
	}
}

// interrupts ends the returned context at the first signal to stop, and closes
// kill at the second. Until release, no signal ends the process.
func interrupts(parent context.Context) (ctx context.Context, kill <-chan struct{}, release func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 4)
	// SIGPIPE is among them so that a reader that has gone away shows as an
	// error of a write, and the run is ended in order.
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE} {
		if !signal.Ignored(s) { // as nohup(1) wants it
			signal.Notify(signals, s)
		}
	}
	killed, over, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		count := 0
		for {
			select {
			case <-over:
				return
			case s := <-signals:
				if s == syscall.SIGPIPE {
					continue
				}
				switch count++; count {
				case 1:
					cancel(fmt.Errorf("%s received", signalName(s)))
				case 2:
					close(killed)
				}
			}
		}
	}()
	return ctx, killed, func() {
		signal.Stop(signals)
		close(over)
		<-done
		cancel(nil)
	}
}

func signalName(s os.Signal) string {
	switch s {
	case os.Interrupt:
		return "Ctrl-C"
	case syscall.SIGTERM:
		return "SIGTERM"
	case syscall.SIGHUP:
		return "SIGHUP"
	}
	return s.String()
}
