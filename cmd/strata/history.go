package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/strata-ci/strata/internal/define"
	"github.com/strata-ci/strata/internal/engine"
	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/internal/render"
)

// here returns the root of the project that the command works in, which is the
// directory itself where there are no pipeline files.
func (a *app) here() (string, error) {
	project, err := define.Find(a.dir)
	if err != nil && !errors.Is(err, define.ErrNoProject) {
		return "", invalid(err)
	}
	return project.Root, nil
}

// findRun returns the run that query names: its ID or a beginning of it, or the
// latest run of the project for "latest" and "".
func (a *app) findRun(ctx context.Context, query string) (run *journal.Run, err error) {
	return run, a.withStore(ctx, func(s *store) error {
		if query == "" || query == "latest" {
			root, err := a.here()
			if err != nil {
				return err
			}
			latest, err := s.history.List(ctx, root, 1)
			if err != nil {
				return err
			}
			if len(latest) == 0 {
				return a.noRuns(root)
			}
			query = latest[0].ID
		}
		var err error
		run, err = journal.Find(engine.RunsDir(s.home), query)
		var broken *fs.PathError
		if err != nil && !errors.As(err, &broken) {
			err = invalidf("%w\nsee strata runs --all", err)
		}
		return err
	})
}

func (a *app) noRuns(root string) error {
	return invalidf("%s has no runs yet: `strata run` starts one; `strata runs --all` lists those of other projects", root)
}

type runsCmd struct {
	Limit int  `short:"n" name:"limit" default:"20" placeholder:"N" help:"Show the latest N runs; 0 for all. Default: ${default}."`
	All   bool `help:"Show the runs of all projects."`
	JSON  bool `help:"Print a JSON array."`
}

// Validate refuses a negative number.
func (c *runsCmd) Validate() error {
	if c.Limit < 0 {
		return errors.New("--limit takes the number of runs to show, or 0 for all")
	}
	return nil
}

// Run lists the runs, newest first.
func (c *runsCmd) Run(ctx context.Context, a *app) error {
	root := ""
	if !c.All {
		var err error
		if root, err = a.here(); err != nil {
			return err
		}
	}
	runs := []journal.Summary{}
	err := a.withStore(ctx, func(s *store) error {
		list, err := s.history.List(ctx, root, c.Limit)
		if err != nil {
			return err
		}
		for _, summary := range list {
			dir := filepath.Join(engine.RunsDir(s.home), summary.ID)
			if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
				continue // somebody has removed it
			}
			if summary.Status == "" {
				summary = sofar(dir, summary)
			}
			runs = append(runs, summary)
		}
		return nil
	})
	if err != nil {
		return err
	}
	switch {
	case c.JSON:
		return writeJSON(a.stdout, runs)
	case len(runs) == 0 && c.All:
		a.say("there are no runs yet: `strata run` starts one")
		return nil
	case len(runs) == 0:
		a.say("%s has no runs yet: `strata run` starts one; `strata runs --all` lists those of other projects", root)
		return nil
	}
	return a.printRuns(runs, c.All)
}

func (a *app) printRuns(runs []journal.Summary, all bool) error {
	t := table{{"RUN", "PIPELINE", "STATUS", "STARTED", "DURATION", "STEPS"}}
	if all {
		t[0] = append(t[0], "PROJECT")
	}
	for _, s := range runs {
		started, duration := "", ""
		if !s.Started.IsZero() {
			started = s.Started.Local().Format("2006-01-02 15:04:05")
			duration = render.Milliseconds(runningFor(s, a.now()))
		}
		row := []string{s.ID, s.Pipeline, runStatus(s), started, duration, stepCounts(s)}
		if all {
			row = append(row, s.Project)
		}
		t = append(t, row)
	}
	const statusColumn = 2
	terminal, _ := render.OpenTerminal(a.stdout, a.getenv)
	return t.write(a.stdout, func(row, column int, text string) string {
		if column != statusColumn || row == 0 {
			return text
		}
		return terminal.Colors.Status(runs[row-1].Status, text)
	})
}

// sofar fills in what the journal knows of a run that has not ended.
func sofar(dir string, s journal.Summary) journal.Summary {
	found, _, ok := journal.Summarize(dir)
	if !ok {
		s.Damaged = "its journal has no beginning"
		return s
	}
	return found
}

// runningFor returns a run's duration in milliseconds, up to now if it runs.
func runningFor(s journal.Summary, now time.Time) float64 {
	if s.Live {
		return float64(now.Sub(s.Started)) / float64(time.Millisecond)
	}
	return s.DurationMS
}

func runStatus(s journal.Summary) string {
	switch {
	case s.Damaged != "":
		return "damaged"
	case s.Live:
		return "running"
	case s.Status == "":
		return render.Word(journal.Interrupted)
	}
	return render.Word(s.Status)
}

// stepCounts tells how many steps there are, and of those that did not just
// pass how many ended in which way: "6, 1 failed, 2 skipped".
func stepCounts(s journal.Summary) string {
	text := fmt.Sprint(s.Steps)
	for _, status := range []journal.Status{
		journal.Cached, journal.Failed, journal.TimedOut, journal.InfraFailed,
		journal.Cancelled, journal.Interrupted, journal.Skipped,
	} {
		if n := s.ByStatus[status]; n > 0 {
			text += fmt.Sprintf(", %d %s", n, render.Word(status))
		}
	}
	return text
}

type showCmd struct {
	RunID string `arg:"" name:"run" optional:"" complete:"run" help:"ID of the run, or its beginning. Default: the project's latest run."`
	JSON  bool   `help:"Print a JSON object."`
}

// Run shows one run as it is now.
func (c *showCmd) Run(ctx context.Context, a *app) error {
	run, err := a.findRun(ctx, c.RunID)
	if err != nil {
		return err
	}
	if c.JSON {
		return showJSON(a, run)
	}
	terminal, ok := render.OpenTerminal(a.stdout, a.getenv)
	if !ok {
		const wide = 1000 // lines in a file are not cut
		terminal = render.Terminal{Out: a.stdout, Size: func() (int, int) { return wide, 24 }, Now: a.now}
	}
	return a.read(run.Follow(ctx, journal.FollowOptions{SoFar: true}), func(items render.Items) error {
		return render.Static(terminal, items)
	})
}
