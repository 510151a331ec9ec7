package workspace

import (
	"context"
	"sync"
)

// spread calls visit for first and for everything that visit pushes, on up to
// n goroutines, and returns when all is done or, with the first error, when
// the running calls are. The order of the calls is not defined.
func spread[T any](ctx context.Context, n int, first T, visit func(item T, push func(T)) error) error {
	s := &spreader[T]{stack: []T{first}}
	s.cond.L = &s.mu
	var workers sync.WaitGroup
	for range n {
		workers.Go(func() { s.work(ctx, visit) })
	}
	workers.Wait()
	return s.err
}

type spreader[T any] struct {
	mu    sync.Mutex
	cond  sync.Cond
	stack []T
	busy  int // visits that are running and may push more
	err   error
}

func (s *spreader[T]) work(ctx context.Context, visit func(T, func(T)) error) {
	for {
		item, ok := s.take()
		if !ok {
			return
		}
		err := ctx.Err()
		if err == nil {
			err = visit(item, s.push)
		}
		s.finish(err)
	}
}

func (s *spreader[T]) take() (item T, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.stack) == 0 && s.busy > 0 && s.err == nil {
		s.cond.Wait()
	}
	if len(s.stack) == 0 || s.err != nil {
		return item, false
	}
	last := len(s.stack) - 1
	item = s.stack[last]
	s.stack = s.stack[:last]
	s.busy++
	return item, true
}

func (s *spreader[T]) push(item T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stack = append(s.stack, item)
	s.cond.Signal()
}

func (s *spreader[T]) finish(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy--
	if s.err == nil {
		s.err = err
	}
	if s.err != nil || s.busy == 0 {
		s.cond.Broadcast()
	}
}
