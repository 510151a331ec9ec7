//go:build linux

package snapshot_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/strata-ci/strata/internal/filetree"
	"github.com/strata-ci/strata/internal/records"
	"github.com/strata-ci/strata/internal/sandbox"
	"github.com/strata-ci/strata/internal/snapshot"
	"github.com/strata-ci/strata/internal/snapshot/snapshottest"
	"github.com/strata-ci/strata/runner"
)

func TestMain(m *testing.M) {
	snapshottest.Main()
	os.Exit(m.Run())
}

func TestLayers(t *testing.T) {
	t.Parallel()
	snapshottest.Run(t, func(t testing.TB, dir string, image snapshottest.Image, maxLayers int) snapshottest.Driver {
		d := layers{open(t, dir), image}
		d.SetMaxLayers(maxLayers)
		return d
	}, snapshottest.Properties{System: true, Layers: true})
}

func TestCopies(t *testing.T) {
	t.Parallel()
	snapshottest.Run(t, func(t testing.TB, dir string, image snapshottest.Image, _ int) snapshottest.Driver {
		return copies{open(t, dir), image}
	}, snapshottest.Properties{})
}

// store is one of a process: with records that it has opened itself.
type store struct {
	*snapshot.Store
	records *records.DB
	ended   *bool
}

func open(t testing.TB, dir string) store {
	t.Helper()
	db, err := records.Open(dir+"-records", records.Options{})
	if err != nil {
		t.Fatal(err)
	}
	opened, err := snapshot.Open(dir, db)
	if err != nil {
		t.Fatal(errors.Join(err, db.Close()))
	}
	s := store{opened, db, new(bool)}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s store) Close() error {
	if *s.ended {
		return nil
	}
	*s.ended = true
	return errors.Join(s.Store.Close(), s.records.Close())
}

func (s store) Crash() {
	if *s.ended {
		return
	}
	*s.ended = true
	s.Abandon()
	_ = s.records.Close() // what is committed stays
}

// mounts are a fork's.
type mounts []sandbox.Mount

func (m mounts) Mounts() []sandbox.Mount { return m }

// layers is the driver that stacks layers.
type layers struct {
	store
	image snapshottest.Image
}

func (d layers) Fork(parent runner.SnapshotRef) (snapshottest.Fork, error) {
	f, err := d.Store.Fork(parent)
	if err != nil {
		return nil, err
	}
	list, err := d.mounts(f)
	if err != nil {
		f.Discard()
		return nil, err
	}
	return struct {
		*snapshot.Fork
		mounts
	}{f, list}, nil
}

func (d layers) mounts(f *snapshot.Fork) (list mounts, err error) {
	for _, m := range []struct {
		tree   snapshot.Tree
		at     string
		base   []string
		target string
	}{
		{snapshot.Root, ".", []string{d.image.Root}, "."},
		{snapshot.Root, "usr", []string{filepath.Join(d.image.Root, "usr"), d.image.Usr}, "usr"},
		{snapshot.Root, "var/lib", []string{filepath.Join(d.image.Root, "var/lib"), d.image.Lib}, "var/lib"},
		{snapshot.Workspace, ".", []string{d.image.Workspace}, "workspace"},
	} {
		lowers, err := f.Lowers(m.tree, m.at, m.base...)
		if err != nil {
			return nil, err
		}
		o, err := f.Overlay(m.tree, m.at, lowers)
		if err != nil {
			return nil, err
		}
		list = append(list, sandbox.Mount{Target: m.target, Lowers: o.Lowers, Upper: o.Upper, Work: o.Work})
	}
	return list, nil
}

// copies is the driver that copies trees.
type copies struct {
	store
	image snapshottest.Image
}

func (d copies) Fork(parent runner.SnapshotRef) (snapshottest.Fork, error) {
	ctx := context.Background()
	c, err := d.Copy(ctx, parent, func(c *snapshot.Copy, tree snapshot.Tree, from *snapshot.Parent) error {
		if from != nil {
			return filetree.Copy(ctx, from.Dir, c.Dir(tree), from.Modes)
		}
		if tree == snapshot.Workspace {
			return filetree.Copy(ctx, d.image.Workspace, c.Dir(tree), nil)
		}
		return filetree.Copy(ctx, d.image.Root, c.Dir(tree), nil)
	})
	if err != nil {
		return nil, err
	}
	return struct {
		*snapshot.Copy
		mounts
	}{c, mounts{
		{Target: ".", Source: c.Dir(snapshot.Root)},
		{Target: "usr", Source: d.image.Usr, ReadOnly: true},
		{Target: "workspace", Source: c.Dir(snapshot.Workspace)},
	}}, nil
}
