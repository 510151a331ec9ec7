package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/internal/schedule"
	"github.com/strata-ci/strata/internal/workspace"
	"github.com/strata-ci/strata/runner"
)

// run is one run in progress. Only the loop in execute touches its maps.
type run struct {
	Request
	engine  *Engine
	journal *journal.Writer
	id      string

	workspace *workspace.Capture
	ends      chan end                // one for each step that was started
	stop      map[int]func(cause int) // of the steps that run
	built     map[int]runner.SnapshotRef
	verdict   journal.Status // of the first step that did not pass
	lost      error          // the first error of writing the journal
}

// end is how a step ended.
type end struct {
	step    int
	outcome schedule.Outcome
	status  journal.Status
	ref     runner.SnapshotRef
	err     error // of writing the journal
}

var (
	errUserCancel = errors.New("cancelled")
	errTimeLimit  = errors.New("the pipeline's time limit is over")
)

// stopped is the cause of a step's cancellation by another's failure.
type stopped struct{ step int }

func (s *stopped) Error() string { return fmt.Sprintf("step %d failed", s.step) }

// execute captures the workspace, runs all steps and writes the run's last
// event. The error is that of writing the journal.
func (r *run) execute(ctx context.Context) (journal.Status, error) {
	begin := r.engine.Now()
	if limit := time.Duration(r.Plan.Pipeline.Timeout); limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, errTimeLimit)
		defer cancel()
	}
	last := journal.Event{Type: journal.RunFinished}
	if err := r.notices(r.Notices); err != nil {
		return journal.InfraFailed, err
	}
	capture, err := r.capture(ctx)
	switch {
	case ctx.Err() != nil:
		last.Status = cancelStatus(ctx)
	case err != nil:
		last.Status = journal.InfraFailed
		last.Error = eventError(captureError(r.Project, err))
	default:
		r.workspace = capture
		last.Status, err = r.steps(ctx)
		if err != nil {
			return journal.InfraFailed, errors.Join(err, capture.Close())
		}
	}
	if capture != nil {
		if err := capture.Close(); err != nil {
			return journal.InfraFailed, err
		}
	}
	code := ExitCode(last.Status)
	last.ExitCode = &code
	last.DurationMS = milliseconds(r.engine.Now().Sub(begin))
	return last.Status, r.journal.Append(last)
}

// steps is the loop around the scheduler.
func (r *run) steps(ctx context.Context) (journal.Status, error) {
	graph := make([]schedule.Step, len(r.Plan.Steps))
	for i, s := range r.Plan.Steps {
		graph[i] = schedule.Step{Deps: s.Deps}
	}
	state, err := schedule.New(graph, schedule.Options{Jobs: r.Jobs, KeepGoing: r.KeepGoing})
	if err != nil {
		return "", err
	}
	r.ends = make(chan end)
	r.stop = map[int]func(int){}
	r.built = map[int]runner.SnapshotRef{}
	r.apply(ctx, state.Start())
	done := ctx.Done()
	cancel := func() {
		done = nil
		r.record(journal.Event{Type: journal.RunCancelling, Message: context.Cause(ctx).Error()})
		r.apply(ctx, state.Cancel())
	}
	for !state.Done() {
		select {
		case e := <-r.ends:
			if done != nil && ctx.Err() != nil {
				cancel() // a step that it has ended may be heard of first
			}
			r.note(e)
			r.apply(ctx, state.Finished(e.step, e.outcome))
		case <-done:
			cancel()
		}
		if r.lost != nil && len(r.stop) > 0 {
			r.apply(ctx, state.Cancel()) // a run that nobody can follow is not to go on
		}
	}
	if r.lost != nil {
		return "", r.lost
	}
	if ctx.Err() != nil {
		return cancelStatus(ctx), nil
	}
	if r.verdict == "" {
		return journal.Passed, nil
	}
	return r.verdict, nil
}

// note keeps what the end of a step means for the run.
func (r *run) note(e end) {
	delete(r.stop, e.step)
	if e.ref != "" {
		r.built[e.step] = e.ref
	}
	if e.err != nil && r.lost == nil {
		r.lost = e.err
	}
	switch e.status {
	case journal.Failed, journal.TimedOut, journal.InfraFailed:
		// What a command says of the code outweighs what the machine could not find out.
		if r.verdict == "" || r.verdict == journal.InfraFailed {
			r.verdict = e.status
		}
	}
}

// apply carries out what the scheduler decided.
func (r *run) apply(ctx context.Context, actions []schedule.Action) {
	for _, a := range actions {
		step := &r.Plan.Steps[a.Step]
		switch a.Kind {
		case schedule.Start:
			r.start(ctx, a.Step)
		case schedule.Stop:
			r.stop[a.Step](a.Cause)
		case schedule.Skip:
			r.record(journal.Event{
				Type: journal.StepFinished, Step: step.Name, Status: journal.Skipped, Cause: r.Plan.Steps[a.Cause].Name,
			})
		case schedule.Cancel:
			r.record(journal.Event{Type: journal.StepFinished, Step: step.Name, Status: journal.Cancelled})
		}
	}
}

// record writes an event of the loop itself.
func (r *run) record(ev journal.Event) {
	if err := r.journal.Append(ev); err != nil && r.lost == nil {
		r.lost = err
	}
}

// start runs a step in a goroutine whose end the loop awaits.
func (r *run) start(ctx context.Context, i int) {
	stepCtx, cancel := context.WithCancelCause(ctx)
	r.stop[i] = func(cause int) {
		if cause == schedule.NoCause {
			cancel(errUserCancel)
			return
		}
		cancel(&stopped{cause})
	}
	in := r.input(i)
	go func() {
		defer cancel(nil)
		r.ends <- r.step(stepCtx, i, in)
	}()
}

func (r *run) input(i int) runner.ExecutorInput {
	s := &r.Plan.Steps[i]
	in := runner.ExecutorInput{
		Step: s.Step, Env: s.Environ, Dir: s.Dir, RunID: r.id, StepID: stepID(r.id, s.Name),
		Workspace: r.workspace, Cache: s.Cache, Timeout: time.Duration(s.Timeout),
	}
	if s.Parent >= 0 {
		in.Parent = r.built[s.Parent]
	}
	if in.Cache.Action == runner.MissBuildAs {
		in.Cache.Ref = runner.SnapshotRef(in.StepID)
	}
	return in
}

// stepID names a step among all runs. An ephemeral snapshot has its step's name.
func stepID(runID, step string) string { return runID + "." + step }

// reap gives every runner its own ephemeral snapshots to remove. What cannot
// be removed now is swept at the runner's next start.
func (r *run) reap(ctx context.Context) {
	refs := map[runner.SnapshotReaper][]runner.SnapshotRef{}
	for i, ref := range r.built {
		if reaper, ok := r.Plan.Steps[i].Runner.(runner.SnapshotReaper); ok {
			refs[reaper] = append(refs[reaper], ref)
		}
	}
	for reaper, refs := range refs {
		_ = reaper.ReapSnapshots(ctx, refs) // best effort, by its contract
	}
}

func cancelStatus(ctx context.Context) journal.Status {
	if errors.Is(context.Cause(ctx), errTimeLimit) {
		return journal.TimedOut
	}
	return journal.Cancelled
}

// ExitCode returns the exit code of the program for the end of a run.
func ExitCode(s journal.Status) int {
	switch s {
	case journal.Passed:
		return 0
	case journal.Failed, journal.TimedOut:
		return 1
	case journal.Cancelled:
		return 130 // as a shell reports a command that SIGINT ended
	default:
		return 3
	}
}
