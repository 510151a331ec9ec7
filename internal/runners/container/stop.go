//go:build linux

package container

import (
	"context"
	"time"
)

// killTime is how long the kernel may take to end killed processes. After it
// the supervising process is ended itself, and everything with it.
const killTime = 10 * time.Second

// stopper ends a command when its time is over, when it is cancelled or when
// its output cannot be kept: first by asking, after the grace time by force.
type stopper struct {
	ctx            context.Context
	hurry          <-chan struct{}
	timeout, grace time.Duration

	terminate, kill chan struct{}
	abandon         context.Context
	giveUp          context.CancelFunc
	over            chan struct{} // closed by end
	done            chan struct{} // closed when watch has returned
	timedOut        bool          // to be read after end
	cancelled       bool          // to be read after end
}

func newStopper(ctx context.Context, hurry <-chan struct{}, timeout, grace time.Duration) *stopper {
	s := &stopper{
		ctx: ctx, hurry: hurry, timeout: timeout, grace: grace,
		terminate: make(chan struct{}), kill: make(chan struct{}),
		over: make(chan struct{}), done: make(chan struct{}),
	}
	s.abandon, s.giveUp = context.WithCancel(context.Background())
	return s
}

// watch waits for a reason to stop the command, and stops it.
func (s *stopper) watch(failed <-chan struct{}) {
	defer close(s.done)
	var limit <-chan time.Time
	if s.timeout > 0 {
		timer := time.NewTimer(s.timeout)
		defer timer.Stop()
		limit = timer.C
	}
	select {
	case <-s.over:
		return
	case <-limit:
		s.timedOut = true
	case <-s.ctx.Done():
		s.cancelled = true
	case <-failed:
	}
	close(s.terminate)
	grace := time.NewTimer(s.grace)
	defer grace.Stop()
	select {
	case <-s.over:
		return
	case <-s.hurry:
	case <-grace.C:
	}
	close(s.kill)
	last := time.NewTimer(killTime)
	defer last.Stop()
	select {
	case <-s.over:
	case <-last.C:
		s.giveUp()
	}
}

// end says that the command is over and awaits watch.
func (s *stopper) end() {
	close(s.over)
	<-s.done
	s.giveUp()
}
