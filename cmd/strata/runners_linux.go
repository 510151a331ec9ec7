package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/strata-ci/strata/internal/records"
	"github.com/strata-ci/strata/internal/runners/container"
	"github.com/strata-ci/strata/internal/sandbox"
)

func (r *runners) openIsolated(home string) error {
	db, err := records.Open(home, records.Options{})
	if err != nil {
		return r.refuseContainers(err)
	}
	c, err := container.New(container.Options{
		StateDir: filepath.Join(home, "containers"), Private: privatePaths(home), Records: db,
	})
	if err != nil {
		err = errors.Join(err, db.Close())
	}
	if stateFault(home, err) {
		return r.refuseContainers(err)
	}
	if err != nil {
		r.fallBack(container.Name, err, sandbox.Advice(err))
		return nil
	}
	r.closers = append(r.closers, c, db)
	if d := c.Driver(); d.Reason != "" {
		r.notices = append(r.notices, fmt.Sprintf(
			"every step copies its parent's files, and none can write to system directories: %s; %s", d.Reason, d.Fix))
	}
	return r.registry.Register(c)
}

// refuseContainers tells every container step of a fault of the state. Not the
// machine is to blame: without isolation nothing would be better.
func (r *runners) refuseContainers(fault error) error {
	return r.registry.Register(standIn{name: container.Name, format: container.SnapshotFormat, check: container.CheckStep, fault: fault})
}

func isolatedStandIns() []standIn {
	return []standIn{{name: container.Name, format: container.SnapshotFormat, check: container.CheckStep}}
}
