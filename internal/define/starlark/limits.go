package starlark

import (
	"context"
	"fmt"
	"runtime/metrics"
	"time"

	"go.starlark.net/starlark"

	"github.com/strata-ci/strata/pipeline"
)

// limits bounds what the files of one Load can use.
type limits struct {
	steps    uint64 // executed instructions
	heap     uint64 // bytes that the process may grow by
	source   int64  // bytes of one file
	loads    int    // files that load each other in a row
	defined  int    // pipeline steps
	elements int    // of a list that one operation makes
	text     int    // bytes of a string that one operation makes
	// grace is how long a stopped program may take to notice. The interpreter
	// notices before its next instruction; only one very long built-in
	// operation takes longer.
	grace time.Duration
}

var defaultLimits = limits{
	steps:    50_000_000, // far more than pipelines need; about a second
	heap:     512 << 20,
	source:   1 << 20,
	loads:    64,
	defined:  100_000,
	elements: 1_000_000,
	text:     16 << 20,
	grace:    2 * time.Second,
}

// watchEvery is how often the heap is looked at. A program fills fresh memory
// with at most some gigabytes a second, so the limit is passed by no more than
// tens of megabytes.
const watchEvery = 5 * time.Millisecond

// run executes a program on thread within the limits. It returns when the
// program has ended. The exception is a program in a built-in operation that
// does not end, such as the comparison of two enormous values: there is no
// way to end that, so it is left behind after a grace time.
func (l limits) run(ctx context.Context, thread *starlark.Thread, program func() error) error {
	thread.SetMaxExecutionSteps(l.steps)
	thread.OnMaxSteps = func(t *starlark.Thread) {
		t.Cancel(fmt.Sprintf("stopped after %d million instructions: is there a loop without end?", l.steps/1_000_000))
	}
	done := make(chan error, 1)
	go func() { done <- recovered(program) }()

	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	start, ended := heap(), ctx.Done()
	var stopped error
	var grace <-chan time.Time
	stop := func(err error) {
		stopped, ended, grace = err, nil, time.After(l.grace)
		ticker.Stop()
		thread.Cancel(err.Error())
	}
	for {
		select {
		case err := <-done:
			if ctx.Err() != nil && err != nil {
				return fmt.Errorf("load the pipelines: %w", ctx.Err())
			}
			return err
		case <-ended:
			stop(fmt.Errorf("load the pipelines: %w", ctx.Err()))
		case <-ticker.C:
			if now := heap(); now > start+l.heap {
				stop(fmt.Errorf("stopped because it uses more than %s of memory: is something growing without end?", pipeline.Bytes(l.heap)))
			}
		case <-grace:
			return stopped
		}
	}
}

// recovered turns a panic of the interpreter into an error: the program that
// provoked it is to blame, not the process.
func recovered(program func() error) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("load the pipelines: the interpreter failed: %v", fault)
		}
	}()
	return program()
}

// heap returns the bytes of all objects on the heap.
func heap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
