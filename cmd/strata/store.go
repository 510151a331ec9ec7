package main

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/strata-ci/strata/internal/cache"
	"github.com/strata-ci/strata/internal/config"
	"github.com/strata-ci/strata/internal/engine"
	"github.com/strata-ci/strata/internal/filetree"
	"github.com/strata-ci/strata/internal/history"
	"github.com/strata-ci/strata/internal/image"
	"github.com/strata-ci/strata/internal/records"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// store is the state directory with its records open.
type store struct {
	home    string
	db      *records.DB
	cache   *cache.Cache
	history *history.History
	limits  cache.Limits
	digests image.Digests
}

// openStore opens the records in the state directory. Read-only, it writes
// nothing there, and what does not exist is empty.
func (a *app) openStore(home string, readOnly bool) (*store, error) {
	settings, err := config.Load(a.getenv)
	if err != nil {
		return nil, invalid(err)
	}
	db, err := records.Open(home, records.Options{ReadOnly: readOnly})
	if err != nil {
		return nil, err
	}
	for _, note := range db.Notes() {
		a.say("%s", note)
	}
	return &store{
		home: home, db: db, limits: limits(settings),
		cache: cache.New(db, filepath.Join(home, "cache"), a.now), history: history.Open(db), digests: image.Records(db),
	}, nil
}

func limits(c config.Config) cache.Limits {
	return cache.Limits{
		MaxBytes: pipeline.Bytes(c.Cache.MaxBytes), MinFreeBytes: pipeline.Bytes(c.Cache.MinFreeBytes), KeepBytes: pipeline.Bytes(c.Cache.KeepBytes),
		Failures: cache.FailureLimits{
			Count: c.Failures.Count, Bytes: pipeline.Bytes(c.Failures.Bytes), Age: time.Duration(c.Failures.Age),
		},
	}
}

func (s *store) close() error { return s.db.Close() }

// engine returns an engine that works on the store.
func (s *store) engine(a *app, reapers map[string]runner.SnapshotReaper) *engine.Engine {
	return &engine.Engine{
		Home: s.home, Now: a.now, Random: rand.Reader, Cache: s.cache, History: s.history,
		Limits: s.limits, Free: func() (int64, error) { return filetree.Free(s.home) },
		Reapers: reapers, Backoff: engine.Backoff,
	}
}

// withStore calls fn with the store, after the runs whose process died have been
// brought to their end. A state directory that does not exist is not made, and
// one that cannot be written to is read as it is.
func (a *app) withStore(ctx context.Context, fn func(*store) error) error {
	home, err := a.stateDir()
	if err != nil {
		return err
	}
	_, err = os.Stat(home)
	if err == nil {
		_, err = a.makeStateDir()
	}
	if err == nil {
		return a.withRunners(ctx, func(s *store, _ *runners) error { return fn(s) })
	}
	s, openErr := a.openStore(home, true)
	if openErr != nil {
		return errors.Join(err, openErr)
	}
	return errors.Join(fn(s), s.close())
}

// withRunners calls fn with the store and the runners, after the runs whose
// process died have been brought to their end.
func (a *app) withRunners(ctx context.Context, fn func(*store, *runners) error) error {
	home, err := a.makeStateDir()
	if err != nil {
		return err
	}
	s, err := a.openStore(home, false)
	if err != nil {
		return err
	}
	r, err := openRunners(ctx, s)
	if err != nil {
		return errors.Join(err, s.close())
	}
	if err := s.engine(a, r.reapers()).Recover(ctx); err != nil {
		a.say("%v", err) // what can be read is shown all the same
	}
	return errors.Join(fn(s, r), r.close(), s.close())
}
