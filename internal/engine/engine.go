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

	"github.com/strata-ci/strata/internal/cache"
	"github.com/strata-ci/strata/internal/history"
	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/internal/records"
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
	// Cache and History are the records of earlier results and runs.
	Cache   *cache.Cache
	History *history.History
	// Limits bound what is kept.
	Limits cache.Limits
	// Reapers are the runners, by name, that snapshots of earlier runs are given to.
	Reapers map[string]runner.SnapshotReaper
	// Free returns the bytes that are free on the file system of Home.
	Free func() (int64, error)
	// Backoff is how long to wait before the nth further try of a step.
	Backoff func(n int) time.Duration
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
	// NoCache uses no earlier results; what passes is kept all the same.
	NoCache bool
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
	// Faults are what is wrong with the pipeline, found out after the capture,
	// where Status is Invalid.
	Faults error
	// Notes are what went wrong and does not change the verdict. One for which
	// records.IsDamaged holds asks for the records to be set aside.
	Notes []error
	// WatchErr is what Watch returned.
	WatchErr error
}

// RunsDir returns where the journals of all runs are.
func RunsDir(home string) string { return filepath.Join(home, "runs") }

// KeptRuns is how many finished runs the journal keeps.
const KeptRuns = 10_000

// Run carries a plan out. When ctx ends, the run is cancelled: its steps are
// asked to end, and the journal is finished. An error means that the run could
// not be recorded; everything that ran has ended by then.
func (e *Engine) Run(ctx context.Context, req Request) (Result, error) {
	warm := warmUp(req)
	defer func() { <-warm }()
	recoverErr := e.Recover(ctx)
	if recoverErr != nil {
		// What went wrong with other runs is no reason not to run.
		req.Notices = append(slices.Clip(req.Notices), recoverErr.Error())
	}
	runs := RunsDir(e.Home)
	id := journal.NewRunID(e.Now(), e.Random)
	w, err := journal.Create(runs, id, e.Now)
	if err != nil {
		return Result{}, runner.AsInfra("start the journal in "+runs, err)
	}
	r := &run{Request: req, engine: e, journal: w, id: id, began: e.Now(), warm: warm, products: make([]product, len(req.Plan.Steps))}
	if records.IsDamaged(recoverErr) {
		r.later(recoverErr)
	}
	if err := w.Append(started(req)); err != nil {
		return Result{RunID: id}, errors.Join(runner.AsInfra("write the journal", err), w.Close())
	}
	watched := make(chan error, 1)
	if req.Watch != nil {
		go func() { watched <- req.Watch(w.Run()) }()
	} else {
		watched <- nil
	}
	last, err := r.carryOut(ctx)
	if err != nil {
		err = runner.AsInfra("write the journal in "+w.Dir(), err)
	}
	// The verdict is out; what follows delays nobody who waits for it.
	r.finish(context.WithoutCancel(ctx), last)
	if closeErr := w.Close(); closeErr != nil && err == nil {
		err = runner.AsInfra("finish the journal in "+w.Dir(), closeErr)
	}
	watchErr := <-watched
	e.clean(context.WithoutCancel(ctx), r)
	return Result{RunID: id, Status: last.Status, Faults: r.faults, Notes: r.told(), WatchErr: watchErr}, err
}

// warmer is a runner that can get ready for its first step before that starts.
type warmer interface{ WarmUp() }

// warmUp lets the runners of steps that are sure to run get ready while the run
// is being planned. It returns what is closed once they are.
func warmUp(req Request) <-chan struct{} {
	cold := map[warmer]bool{}
	for i := range req.Plan.Steps {
		s := &req.Plan.Steps[i]
		if w, ok := s.Runner.(warmer); ok && (req.NoCache || s.AlwaysRuns()) {
			cold[w] = true
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for w := range cold {
			w.WarmUp()
		}
	}()
	return done
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

// Look returns the workspace as a run would capture it now, and writes nothing.
func Look(ctx context.Context, home, project string) (*workspace.View, error) {
	store, err := openWorkspace(home, project)
	if err != nil {
		return nil, captureError(project, err)
	}
	view, _, err := store.Look(ctx)
	if err != nil {
		return nil, captureError(project, err)
	}
	return view, nil
}

// keptCaptures is how long the captures of a project are kept that are not used.
const keptCaptures = 30 * 24 * time.Hour

// ClearCaptures removes the captures of projects that were not used for 30
// days, and returns how many it cleared. Captures from the future, since the
// clock was set back, count as new.
func ClearCaptures(home string, now time.Time) (cleared int, err error) {
	dirs, err := filepath.Glob(filepath.Join(home, "projects", "*"))
	var failed error
	for _, dir := range dirs {
		used, err := workspace.LastUsed(dir)
		if err != nil || now.Sub(used) < keptCaptures {
			continue // what has no lock was never captured
		}
		ok, err := workspace.Clear(dir)
		failed = errors.Join(failed, err)
		if ok {
			cleared++
		}
	}
	return cleared, errors.Join(err, failed)
}

func openWorkspace(home, project string) (*workspace.Store, error) {
	dir := filepath.Join(home, "projects", projectID(project))
	return workspace.Open(dir, project, workspace.Options{Exclude: []string{home}})
}

// capture takes the run's copy of the workspace.
func (r *run) capture(ctx context.Context) (*workspace.Capture, error) {
	store, err := openWorkspace(r.engine.Home, r.Project)
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
