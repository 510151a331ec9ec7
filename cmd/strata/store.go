package main

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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
	file    fs.FileInfo // of the records when they were opened; nil if there were none
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
	file, err := os.Stat(records.Path(home))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(err, db.Close())
	}
	return &store{
		home: home, db: db, file: file, limits: limits(settings),
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

// closeAfter closes the store after its use has ended with some errors. If one
// says that the records are damaged, they are set aside, which lost reports.
func (s *store) closeAfter(a *app, used ...error) (lost bool, err error) {
	err = s.close()
	i := slices.IndexFunc(used, records.IsDamaged)
	if i < 0 || s.db.ReadOnly() {
		return false, err
	}
	now, statErr := os.Stat(records.Path(s.home))
	if statErr != nil || s.file == nil || !os.SameFile(now, s.file) {
		return false, err // another process has found it out, too
	}
	note, asideErr := records.SetAside(s.home, used[i])
	if asideErr != nil {
		return false, errors.Join(err, asideErr)
	}
	a.say("%s", note)
	return true, err
}

// finish closes the store. Where the records are lost by that, all that they
// knew of has no owner any more.
func (a *app) finish(ctx context.Context, s *store, used ...error) error {
	lost, err := s.closeAfter(a, used...)
	if !lost || ctx.Err() != nil {
		return err
	}
	s, r, openErr := a.openAll(ctx, s.home)
	if openErr != nil {
		return errors.Join(err, openErr)
	}
	return errors.Join(err, a.disown(ctx, s, r), r.close(), s.close())
}

// disown removes what lost records knew of.
func (a *app) disown(ctx context.Context, s *store, r *runners) error {
	_, err := a.repairOwners(ctx, s, r)
	return err
}

// openAll opens the store and its runners. Where those find the records to be
// damaged, it begins with new ones.
func (a *app) openAll(ctx context.Context, home string) (*store, *runners, error) {
	for lost := false; ; {
		s, err := a.openStore(home, false)
		if err != nil {
			return nil, nil, err
		}
		lost = lost || len(s.db.Notes()) > 0 // which tell of records that were set aside
		r, err := openRunners(ctx, s)
		if err == nil && lost {
			if err := a.disown(ctx, s, r); err != nil {
				a.say("%v", err) // what is left takes space, and no more
			}
		}
		if err == nil {
			return s, r, nil
		}
		var closeErr error
		if lost, closeErr = s.closeAfter(a, err); !lost {
			return nil, nil, errors.Join(err, closeErr)
		}
	}
}

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
	s, r, err := a.openAll(ctx, home)
	if err != nil {
		return err
	}
	recoverErr := s.engine(a, r.reapers()).Recover(ctx)
	if recoverErr != nil {
		a.say("%v", recoverErr) // what can be read is shown all the same
	}
	err = fn(s, r)
	return errors.Join(err, r.close(), a.finish(ctx, s, recoverErr, err))
}
