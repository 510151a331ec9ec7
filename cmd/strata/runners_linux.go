package main

import (
	"fmt"
	"path/filepath"

	"github.com/strata-ci/strata/internal/records"
	"github.com/strata-ci/strata/internal/runners/container"
	"github.com/strata-ci/strata/internal/sandbox"
)

func (s *store) openContainer() (*container.Runner, error) {
	return container.New(container.Options{
		StateDir: filepath.Join(s.home, "containers"), Private: privatePaths(s.home), Records: s.db, Digests: s.digests,
	})
}

func (r *runners) openIsolated(s *store) error {
	c, err := s.openContainer()
	if records.IsDamaged(err) {
		return err
	}
	if stateFault(s.home, err) {
		// Not the machine is to blame: without isolation nothing would be better.
		return r.registry.Register(standIn{name: container.Name, format: container.SnapshotFormat, check: container.CheckStep, fault: err})
	}
	if err != nil {
		r.fallBack(container.Name, err, sandbox.Advice(err))
		return nil
	}
	r.closers = append(r.closers, c)
	if d := c.Driver(); d.Reason != "" {
		r.notices = append(r.notices, fmt.Sprintf(
			"every step copies its parent's files, and none can write to system directories: %s; %s", d.Reason, d.Fix))
	}
	return r.registry.Register(c)
}

func isolatedStandIns() []standIn {
	return []standIn{{name: container.Name, format: container.SnapshotFormat, check: container.CheckStep}}
}
