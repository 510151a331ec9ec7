//go:build linux

package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/strata-ci/strata/internal/sandbox"
	"github.com/strata-ci/strata/internal/snapshot"
	"github.com/strata-ci/strata/pipeline"
)

// machine is what it takes to run steps. A run whose steps are all cached needs
// none of it.
type machine struct {
	dir    string // of this process alone
	image  *hostImage
	seats  *seats
	driver driver
}

// lazy is a value that is made when it is first needed. An error is not kept:
// the next one who needs it tries again.
type lazy[T any] struct {
	open func() (T, error)
	mu   sync.Mutex
	made bool
	it   T
}

func (l *lazy[T]) get() (T, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.made {
		return l.it, nil
	}
	var err error
	l.it, err = l.open()
	l.made = err == nil
	return l.it, err
}

// peek returns the value if it was made.
func (l *lazy[T]) peek() (T, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.it, l.made
}

// startMachine prepares what steps need, up to the first sandbox.
func (r *Runner) startMachine() (*machine, error) {
	dir, err := r.store.Live()
	if err != nil {
		return nil, err
	}
	m := &machine{dir: dir}
	if m.image, err = openHostImage(r.opts.StateDir, r.opts.Private); err != nil {
		return nil, fmt.Errorf("describe this machine as an image: %w", err)
	}
	if err := r.furnish(m); err != nil {
		return nil, errors.Join(err, m.image.close())
	}
	return m, nil
}

// furnish gives the machine the rest, once it has its image.
func (r *Runner) furnish(m *machine) error {
	if r.choice.Name == driverOverlay && m.image.unstackable != nil {
		// It hides nothing then, and it is not what the choice was made with.
		return fmt.Errorf("stack the image of this machine: %w", m.image.unstackable)
	}
	limit, err := r.limit.get()
	if err != nil {
		return err
	}
	scratch, seatsDir := filepath.Join(m.dir, "scratch"), filepath.Join(m.dir, "seats")
	for _, d := range []string{scratch, seatsDir} {
		if err := os.Mkdir(d, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	m.seats = &seats{config: sandbox.Config{Scratch: scratch, Cgroups: limit.cgroups}, dir: seatsDir}
	m.use(r.store, r.choice)
	return nil
}

// use makes the machine fork steps in the way of a driver.
func (m *machine) use(store *snapshot.Store, choice Driver) {
	if choice.Name == driverCopies {
		m.driver = &copies{store: store, image: m.image}
	} else {
		m.driver = &overlays{store: store, image: m.image, points: filepath.Join(m.dir, "points")}
	}
}

// try starts a sandbox and chooses the driver by what works in it.
func (r *Runner) try() error {
	m, err := r.machine.get()
	if err != nil {
		return err
	}
	seat, err := m.seats.take()
	if err != nil {
		return err
	}
	r.choice = Driver{Name: driverCopies, Reason: "that was asked for"}
	if !r.opts.ForceCopy {
		r.choice, err = tryOverlay(seat.cell, m.seats.dir, r.opts.StateDir, m.image)
	}
	m.use(r.store, r.choice)
	return errors.Join(err, m.seats.put(seat))
}

// limits returns a step's limits, or why they cannot be kept here.
func (r *Runner) limits(wanted *pipeline.Resources) (sandbox.Limits, error) {
	if wanted == nil || *wanted == (pipeline.Resources{}) {
		return sandbox.Limits{}, nil
	}
	limit, err := r.limit.get()
	if err != nil {
		return sandbox.Limits{}, err
	}
	return limit.limits(wanted)
}
