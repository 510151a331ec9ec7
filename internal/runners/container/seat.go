//go:build linux

package container

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"github.com/strata-ci/strata/internal/filetree"
	"github.com/strata-ci/strata/internal/sandbox"
	"github.com/strata-ci/strata/internal/snapshot"
)

// seat is a cell with the overlays that it keeps mounted between steps: those
// that the last step has left as they were.
type seat struct {
	cell  *sandbox.Cell
	dir   string
	made  int                         // overlays made so far: their directories' names
	kept  map[string]snapshot.Overlay // by name
	stale []snapshot.Overlay          // were kept, and are unmounted by the next step
}

// overlay returns the kept overlay at a place, if it has the same lower
// directories, or makes one in its stead.
func (s *seat) overlay(tree snapshot.Tree, at string, lowers []string) (snapshot.Overlay, error) {
	name := keepName(tree, at)
	if o, ok := s.kept[name]; ok {
		if slices.Equal(o.Lowers, lowers) {
			return o, nil
		}
		delete(s.kept, name)
		s.stale = append(s.stale, o)
	}
	s.made++
	o, err := snapshot.NewOverlay(filepath.Join(s.dir, strconv.Itoa(s.made)), tree, at, lowers)
	if err == nil {
		s.kept[name] = o
	}
	return o, err
}

// surrender gives overlays that a step has changed to the step's fork, in the
// order in which they are to lie on each other.
func (s *seat) surrender(names []string, fork *snapshot.Fork) error {
	for _, o := range s.stale {
		if err := errors.Join(filetree.Remove(o.Upper), filetree.Remove(o.Work)); err != nil {
			return err
		}
	}
	s.stale = nil
	slices.Sort(names) // a tree's root comes first
	for _, name := range names {
		o := s.kept[name]
		delete(s.kept, name)
		if err := fork.Adopt(o); err != nil {
			return err
		}
	}
	return nil
}

func (s *seat) close() error { return errors.Join(s.cell.Close(), filetree.Remove(s.dir)) }

// seats keeps seats between steps.
type seats struct {
	config sandbox.Config
	dir    string
	mu     sync.Mutex
	idle   []*seat
}

func (p *seats) take() (*seat, error) {
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		s := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return s, nil
	}
	p.mu.Unlock()
	dir, err := os.MkdirTemp(p.dir, "seat-")
	if err != nil {
		return nil, err
	}
	cell, err := sandbox.Start(p.config)
	if err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	return &seat{cell: cell, dir: dir, kept: map[string]snapshot.Overlay{}}, nil
}

func (p *seats) put(s *seat) error {
	if s.cell.Lost() {
		return s.close()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, s)
	return nil
}

func (p *seats) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, s := range p.idle {
		errs = append(errs, s.close())
	}
	p.idle = nil
	return errors.Join(errs...)
}
