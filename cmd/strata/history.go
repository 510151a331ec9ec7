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
	"github.com/strata-ci/strata/internal/runners/host"
	"github.com/strata-ci/strata/runner"
)

// pastRuns returns the directory of the journals, in which the runs whose
// process died have been brought to their end.
func (a *app) pastRuns() (string, error) {
	dir, err := a.runsDir()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return dir, nil
	}
	if err := a.recover(dir); err != nil {
		a.say("%v", err) // what can be read is shown all the same
	}
	return dir, nil
}

// recover ends runs whose process died. Of their snapshots only those of the
// host runner may be left: the others went with their process.
func (a *app) recover(runsDir string) error {
	h, err := openHost(filepath.Dir(runsDir))
	if err != nil {
		return err
	}
	return engine.Recover(context.Background(), runsDir, a.now, map[string]runner.SnapshotReaper{host.Name: h})
}

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
func (a *app) findRun(query string) (*journal.Run, error) {
	dir, err := a.pastRuns()
	if err != nil {
		return nil, err
	}
	if query == "" || query == "latest" {
		if query, err = a.latest(dir); err != nil {
			return nil, err
		}
	}
	run, err := journal.Find(dir, query)
	var broken *fs.PathError
	if err != nil && !errors.As(err, &broken) {
		err = invalidf("%w\nsee strata runs --all", err)
	}
	return run, err
}

// latest returns the ID of the project's latest run.
func (a *app) latest(runsDir string) (string, error) {
	root, err := a.here()
	if err != nil {
		return "", err
	}
	for s, err := range journal.List(runsDir) {
		if err != nil {
			return "", err
		}
		if s.Project == root {
			return s.ID, nil
		}
	}
	return "", invalidf("%s has no runs yet: `strata run` starts one; `strata runs --all` lists those of other projects", root)
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
func (c *runsCmd) Run(a *app) error {
	runsDir, err := a.pastRuns()
	if err != nil {
		return err
	}
	root := ""
	if !c.All {
		if root, err = a.here(); err != nil {
			return err
		}
	}
	runs := []journal.Summary{}
	for s, err := range journal.List(runsDir) {
		if err != nil {
			return err
		}
		if c.All || s.Project == root {
			runs = append(runs, s)
		}
		if len(runs) == c.Limit && c.Limit > 0 {
			break
		}
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
	run, err := a.findRun(c.RunID)
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
