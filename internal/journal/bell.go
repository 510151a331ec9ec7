package journal

import (
	"slices"
	"sync"
)

// bell wakes the readers in a writer's own process. Ringing never blocks and
// never allocates; a reader that is busy finds the ring when it comes back.
type bell struct {
	mu     sync.Mutex
	ears   []chan struct{}
	silent bool // the writer is closed
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, ear := range b.ears {
		select {
		case ear <- struct{}{}:
		default:
		}
	}
}

// silence rings for the last time.
func (b *bell) silence() {
	b.mu.Lock()
	b.silent = true
	b.mu.Unlock()
	b.ring()
}

func (b *bell) isSilent() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.silent
}

// listen returns a channel that gets a value after each ring, and what ends that.
func (b *bell) listen() (<-chan struct{}, func()) {
	ear := make(chan struct{}, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ears = append(b.ears, ear)
	return ear, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.ears = slices.DeleteFunc(b.ears, func(c chan struct{}) bool { return c == ear })
	}
}
