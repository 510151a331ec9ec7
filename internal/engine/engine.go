// Package engine carries a plan out: it joins the capture of the workspace, the
// scheduler, the runners and the journal.
//
// In: a plan. Out: a run in the journal, and how it ended. It never shows
// anything to anybody: whoever watches a run reads its journal.
package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/internal/workspace"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// Engine runs plans. Its fields are not to be changed while it does.
type Engine struct {
	// Home is Strata's state directory.
	Home string
	// Now is the clock.
	Now func() time.Time
	// Random gives the random part of run IDs.
	Random io.Reader
	// Reapers are the runners, by name, that snapshots of runs whose process
	// died are given to.
	Reapers map[string]runner.SnapshotReaper
}

// Request is one run.
type Request struct {
	Plan *plan.Plan
	// Project is the absolute path of the directory to capture.
	Project string
	// Jobs is the most steps that run at once, at least 1.
	Jobs int
	// KeepGoing lets steps that do not depend on a failed one run on.
	KeepGoing bool
	// Notices are told at the start of the run.
	Notices []string
	// Kill, once closed, ends a cancelled run without grace. May be nil.
	Kill <-chan struct{}
	// Watch follows the run. It is called once, in a goroutine of its own, and
	// awaited; it should return after the run's last event. May be nil.
	Watch func(*journal.Run) error
}

// Result is how a run ended.
type Result struct {
	RunID  string
	Status journal.Status
	// WatchErr is what Watch returned.
	WatchErr error
}

// RunsDir returns where the journals of all runs are.
func RunsDir(home string) string { return filepath.Join(home, "runs") }

// KeptRuns is how many finished runs the journal keeps.
const KeptRuns = 1000

// Run carries a plan out. When ctx ends, the run is cancelled: its steps are
// asked to end, and the journal is finished. An error means that the run could
// not be recorded; everything that ran has ended by then.
func (e *Engine) Run(ctx context.Context, req Request) (Result, error) {
	runs := RunsDir(e.Home)
	if err := Recover(ctx, runs, e.Now, e.Reapers); err != nil {
		// What went wrong with other runs is no reason not to run.
		req.Notices = append(slices.Clip(req.Notices), err.Error())
	}
	id := journal.NewRunID(e.Now(), e.Random)
	w, err := journal.Create(runs, id, e.Now)
	if err != nil {
		return Result{}, runner.AsInfra("start the journal in "+runs, err)
	}
	result := Result{RunID: id}
	watched := make(chan error, 1)
	if err := w.Append(started(req)); err != nil {
		return result, errors.Join(runner.AsInfra("write the journal", err), w.Close())
	}
	if req.Watch != nil {
		go func() { watched <- req.Watch(w.Run()) }()
	} else {
		watched <- nil
	}
	r := &run{Request: req, engine: e, journal: w, id: id}
	result.Status, err = r.execute(ctx)
	if err != nil {
		err = runner.AsInfra("write the journal in "+w.Dir(), err)
	}
	// The verdict is out; what follows delays nobody who waits for it.
	r.reap(context.WithoutCancel(ctx))
	if closeErr := w.Close(); closeErr != nil && err == nil {
		err = runner.AsInfra("finish the journal in "+w.Dir(), closeErr)
	}
	result.WatchErr = <-watched
	if _, pruneErr := journal.Prune(runs, KeptRuns); pruneErr != nil && err == nil {
		err = runner.AsInfra("remove old journals", pruneErr)
	}
	return result, err
}

// Recover ends the runs whose processes died, after it has given the ephemeral
// snapshots that they may have left to the runners that made them.
func Recover(ctx context.Context, runsDir string, now func() time.Time, reapers map[string]runner.SnapshotReaper) error {
	_, err := journal.RecoverAfter(runsDir, now, func(state journal.RunState) error {
		refs := map[string][]runner.SnapshotRef{}
		for _, s := range state.Steps {
			refs[s.Runner] = append(refs[s.Runner], runner.SnapshotRef(stepID(state.ID, s.Name)))
		}
		var errs []error
		for name, refs := range refs {
			if reaper := reapers[name]; reaper != nil {
				errs = append(errs, reaper.ReapSnapshots(ctx, refs))
			}
		}
		return errors.Join(errs...)
	})
	return err
}

func started(req Request) journal.Event {
	ev := journal.Event{
		Type: journal.RunStarted, Pipeline: req.Plan.Pipeline.Name, Project: req.Project, Jobs: req.Jobs,
	}
	for _, s := range req.Plan.Steps {
		step := journal.Step{
			Name: s.Name, Label: s.Label, Command: s.Command.String(), Runner: s.Runner.Name(),
		}
		for _, d := range s.Deps {
			if name := req.Plan.Steps[d].Name; d == s.Parent {
				step.BuildsIn = name
			} else {
				step.DependsOn = append(step.DependsOn, name)
			}
		}
		ev.Steps = append(ev.Steps, step)
	}
	return ev
}

// capture takes the run's copy of the workspace.
func (r *run) capture(ctx context.Context) (*workspace.Capture, error) {
	dir := filepath.Join(r.engine.Home, "projects", projectID(r.Project))
	store, err := workspace.Open(dir, r.Project, workspace.Options{Exclude: []string{r.engine.Home}})
	if err != nil {
		return nil, err
	}
	capture, stats, err := store.Capture(ctx)
	if err != nil {
		return nil, err
	}
	notes := stats.Notes
	if stats.Skipped > 0 {
		notes = append(notes, fmt.Sprintf("%d files that are neither regular files, directories nor symbolic links are not part of the workspace: %s",
			stats.Skipped, strings.Join(stats.SkippedNames, ", ")))
	}
	err = r.journal.Append(journal.Event{Type: journal.CaptureFinished, Capture: &journal.Capture{
		ID: capture.ID(), Files: stats.Files, Changed: stats.Changed, Bytes: stats.Bytes, DurationMS: milliseconds(stats.Duration),
	}})
	return capture, errors.Join(err, r.notices(notes))
}

func captureError(project string, err error) *runner.InfraError {
	op := "capture the workspace " + project
	if problem := workspace.Problem(err); problem != nil {
		return &runner.InfraError{Op: op, Kind: runner.KindWorkspace, Err: problem}
	}
	return runner.AsInfra(op, err)
}

func (r *run) notices(messages []string) error {
	for _, m := range messages {
		if err := r.journal.Append(journal.Event{Type: journal.Notice, Message: m}); err != nil {
			return err
		}
	}
	return nil
}

// projectID names a project's state: readable, and unique to its path.
func projectID(root string) string {
	sum := sha256.Sum256([]byte(root))
	name := filepath.Base(root)
	if !pipeline.ValidName(name) {
		name = "project"
	}
	return name + "-" + hex.EncodeToString(sum[:8])
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
