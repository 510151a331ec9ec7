package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/internal/schedule"
	"github.com/strata-ci/strata/internal/workspace"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// run is one run in progress. Only the loop in steps touches its maps.
type run struct {
	Request
	engine  *Engine
	journal *journal.Writer
	id      string
	began   time.Time
	warm    <-chan struct{} // closed once the runners are ready

	workspace *workspace.Capture
	gone      []plan.Key // results that the plan found, and that were removed since
	keeper    *keeper
	products  []product               // of the plan's steps
	ends      chan end                // one for each step that was started
	stop      map[int]func(cause int) // of the steps that run
	ended     map[int]end
	verdict   journal.Status // of the first step that did not pass
	lost      error          // the first error of writing the journal
	faults    error          // of the pipeline

	mu      sync.Mutex
	commits map[runner.SnapshotRef]int // snapshots, with the steps that made them
	notes   []error
}

// end is how a step ended.
type end struct {
	step       int
	outcome    schedule.Outcome
	status     journal.Status
	ref        runner.SnapshotRef
	durationMS float64
	because    *stopped // the step to blame for one that was cancelled; nil for none
	again      bool     // it had ended by an earlier result, which was damaged
	err        error    // of writing the journal
}

var (
	errUserCancel = errors.New("cancelled")
	errTimeLimit  = errors.New("the pipeline's time limit is over")
)

// stopped is the cause of a step's cancellation by another's failure.
type stopped struct{ step int }

func (s *stopped) Error() string { return fmt.Sprintf("step %d failed", s.step) }

// carryOut captures the workspace, decides which earlier results to use, runs
// all other steps and writes the run's last event, which it returns. The error
// is that of writing the journal.
func (r *run) carryOut(ctx context.Context) (journal.Event, error) {
	begin := r.engine.Now()
	if limit := time.Duration(r.Plan.Pipeline.Timeout); limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, errTimeLimit)
		defer cancel()
	}
	last := journal.Event{Type: journal.RunFinished, Status: journal.InfraFailed}
	err := r.notices(r.Notices)
	if err != nil {
		return last, err
	}
	// The plan asks the records, on the connection that the index leaves free.
	var indexing sync.WaitGroup
	indexing.Go(func() { r.index(ctx) })
	r.workspace, err = r.capture(ctx)
	indexing.Wait()
	switch {
	case ctx.Err() != nil:
		last.Status = cancelStatus(ctx)
	case err != nil:
		last.Error = eventError(captureError(r.Project, err))
	default:
		err = r.planned(ctx, &last)
	}
	if r.workspace != nil {
		err = errors.Join(err, r.workspace.Close())
	}
	if err != nil && r.workspace != nil {
		return last, err
	}
	code := ExitCode(last.Status)
	last.ExitCode = &code
	last.DurationMS = milliseconds(r.engine.Now().Sub(begin))
	return last, r.journal.Append(last)
}

// planned decides and runs the steps, and fills in how the run ended.
func (r *run) planned(ctx context.Context, last *journal.Event) error {
	err := r.decide(ctx)
	var faults pipeline.Faults
	switch {
	case errors.As(err, &faults):
		r.faults = err
		last.Status = journal.Invalid
		last.Error = &journal.Error{Op: "plan the run", Kind: "pipeline", Message: faults.Error()}
		return nil
	case ctx.Err() != nil:
		last.Status = cancelStatus(ctx)
		return nil
	case err != nil:
		last.Error = eventError(runner.AsInfra("plan the run", err))
		return nil
	}
	release := r.hold(ctx)
	<-r.warm // else the first steps would get ready, too
	last.Status, err = r.steps(ctx)
	release()
	return err
}

// steps is the loop around the scheduler.
func (r *run) steps(ctx context.Context) (journal.Status, error) {
	graph := make([]schedule.Step, len(r.Plan.Steps))
	for i, s := range r.Plan.Steps {
		graph[i] = schedule.Step{Deps: s.Deps, Weight: weight(&s.Decision)}
	}
	state, err := schedule.New(graph, schedule.Options{Jobs: r.Jobs, KeepGoing: r.KeepGoing})
	if err != nil {
		return "", err
	}
	r.ends = make(chan end)
	r.stop = map[int]func(int){}
	r.ended = map[int]end{}
	keepCtx, cancelKeeping := r.untilKilled(context.WithoutCancel(ctx))
	r.keeper = startKeeper(keepCtx, r, cancelKeeping)
	r.apply(ctx, state.Start())
	done := ctx.Done()
	cancel := func() {
		done = nil
		r.append(journal.Event{Type: journal.RunCancelling, Message: context.Cause(ctx).Error()})
		r.apply(ctx, state.Cancel())
	}
	for !state.Done() {
		select {
		case e := <-r.ends:
			if done != nil && ctx.Err() != nil {
				cancel() // a step that it has ended may be heard of first
			}
			r.note(e)
			if !e.again {
				r.apply(ctx, state.Finished(e.step, e.outcome))
			}
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
	if !e.again {
		delete(r.stop, e.step)
	}
	r.ended[e.step] = e
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

// culprit returns the step that is to blame for one that did not pass: itself,
// unless it was cancelled for another.
func (r *run) culprit(i int) int {
	if by := r.ended[i].because; by != nil {
		return by.step
	}
	return i
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
			r.append(journal.Event{
				Type: journal.StepFinished, Step: step.Name, Status: journal.Skipped, Cause: r.Plan.Steps[r.culprit(a.Cause)].Name,
			})
			r.ended[a.Step] = end{step: a.Step, status: journal.Skipped}
		case schedule.Cancel:
			r.append(journal.Event{Type: journal.StepFinished, Step: step.Name, Status: journal.Cancelled})
			r.ended[a.Step] = end{step: a.Step, status: journal.Cancelled}
		}
	}
}

// append writes an event of the loop itself.
func (r *run) append(ev journal.Event) {
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
		cancel(&stopped{r.culprit(cause)})
	}
	go func() {
		defer cancel(nil)
		r.ends <- r.step(stepCtx, i)
	}()
}

func (r *run) input(i int) runner.ExecutorInput {
	s := &r.Plan.Steps[i]
	in := runner.ExecutorInput{
		Step: s.Step, Env: s.Environ, Dir: s.Dir, RunID: r.id, StepID: stepID(r.id, s.Name),
		Workspace: r.workspace, Cache: s.Cache, Timeout: time.Duration(s.Timeout),
	}
	in.Cache.KeepFailed = plan.KeepsResults(s.Runner)
	if in.Cache.Action == runner.Hit {
		in.Cache.Action = runner.MissBuildAs // the earlier result could not be used after all
	}
	if in.Cache.Action == runner.MissBuildAs || in.Cache.KeepFailed {
		in.Cache.Ref = runner.SnapshotRef(in.StepID)
	}
	return in
}

// stepID names a step among all runs. A snapshot has its step's name.
func stepID(runID, step string) string { return runID + "." + step }

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
	case journal.Invalid:
		return 2
	case journal.Cancelled:
		return 130 // as a shell reports a command that SIGINT ended
	default:
		return 3
	}
}
