//go:build linux

package snapshot_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/internal/records"
	"github.com/strata-ci/strata/internal/snapshot"
	"github.com/strata-ci/strata/runner"
)

// commit makes a snapshot of what fill writes to the workspace.
func commit(t *testing.T, s store, parent, ref runner.SnapshotRef, fill func(upper string)) {
	t.Helper()
	f, err := s.Fork(parent)
	must(t, err)
	lowers, err := f.Lowers(snapshot.Workspace, ".")
	must(t, err)
	o, err := f.Overlay(snapshot.Workspace, ".", lowers)
	must(t, err)
	fill(o.Upper)
	must(t, f.Commit(ref))
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// kept returns the directory of the workspace in the one layer of a kept
// snapshot, and a store of another process.
func kept(t *testing.T, dir string) (workspace string, other store) {
	t.Helper()
	s := open(t, dir)
	commit(t, s, "", "whole", func(upper string) {
		must(t, os.Mkdir(filepath.Join(upper, "d"), 0o755), os.WriteFile(filepath.Join(upper, "d/file"), []byte("data"), 0o644),
			os.WriteFile(filepath.Join(upper, "other"), nil, 0o644), os.Symlink("d/file", filepath.Join(upper, "link")),
			unix.Mknod(filepath.Join(upper, "gone"), unix.S_IFCHR, 0),
			unix.Setxattr(filepath.Join(upper, "d"), "user.overlay.opaque", []byte("y"), 0))
	})
	commit(t, s, "", "apart", func(upper string) { must(t, os.WriteFile(filepath.Join(upper, "new"), nil, 0o644)) })
	commit(t, s, "whole", "child", func(upper string) { must(t, os.WriteFile(filepath.Join(upper, "new"), nil, 0o644)) })
	parts, err := s.Keep(context.Background(), []runner.SnapshotRef{"whole", "child", "apart"})
	must(t, err, s.Close())
	return filepath.Join(dir, "layers", parts[0].Parts[0].ID, "workspace"), open(t, dir)
}

// TestDamageIsFound damages a layer in each way in which a disk or a user may.
func TestDamageIsFound(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		damage func(t *testing.T, dir string)
		found  runner.CheckDepth // the least that finds it
		says   string
	}{
		"truncated":   {damage: func(t *testing.T, dir string) { must(t, os.Truncate(filepath.Join(dir, "d/file"), 2)) }, found: runner.CheckFiles},
		"edited":      {damage: func(t *testing.T, dir string) { must(t, os.WriteFile(filepath.Join(dir, "d/file"), []byte("atad"), 0)) }, found: runner.CheckFiles},
		"deleted":     {damage: func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "d/file"))) }, found: runner.CheckFiles},
		"added":       {damage: func(t *testing.T, dir string) { must(t, os.WriteFile(filepath.Join(dir, "d/new"), nil, 0o644)) }, found: runner.CheckFiles},
		"mode":        {damage: func(t *testing.T, dir string) { must(t, os.Chmod(filepath.Join(dir, "d/file"), 0o755)) }, found: runner.CheckFiles},
		"link":        {damage: relink, found: runner.CheckFiles},
		"no whiteout": {damage: func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "gone"))) }, found: runner.CheckFiles},
		"not opaque": {damage: func(t *testing.T, dir string) {
			must(t, unix.Removexattr(filepath.Join(dir, "d"), "user.overlay.opaque"))
		}, found: runner.CheckContents},
		"rotten":  {damage: rot, found: runner.CheckContents},
		"no tree": {damage: func(t *testing.T, dir string) { must(t, os.RemoveAll(dir)) }, found: runner.CheckFiles},
		"no layer": {
			damage: func(t *testing.T, dir string) { must(t, os.RemoveAll(filepath.Dir(dir))) },
			found:  runner.CheckExists, says: "is missing",
		},
		"no directory": {damage: func(t *testing.T, dir string) {
			must(t, os.RemoveAll(filepath.Dir(dir)), os.WriteFile(filepath.Dir(dir), nil, 0o644))
		}, found: runner.CheckExists, says: "is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			workspace, s := kept(t, dir)
			tt.damage(t, workspace)
			if tt.says == "" {
				tt.says = "was changed after it was kept"
			}
			for _, ref := range []runner.SnapshotRef{"child", "whole"} {
				wantFound(t, s, ref, tt.found, "the layer "+filepath.Base(filepath.Dir(workspace))+" "+tt.says)
			}
			wantSetAside(t, dir, s, filepath.Dir(workspace))
		})
	}
}

func relink(t *testing.T, dir string) {
	link := filepath.Join(dir, "link")
	must(t, os.Remove(link), os.Symlink("d/elif", link))
}

// rot changes a file as a disk does that forgets.
func rot(t *testing.T, dir string) {
	file := filepath.Join(dir, "d/file")
	info, err := os.Stat(file)
	must(t, err, os.WriteFile(file, []byte("rots"), 0), os.Chtimes(file, info.ModTime(), info.ModTime()))
}

// wantFound fails unless a check of that depth is the first that finds a fault.
func wantFound(t *testing.T, s store, ref runner.SnapshotRef, found runner.CheckDepth, says string) {
	t.Helper()
	for depth := runner.CheckExists; depth <= runner.CheckContents; depth++ {
		err := s.Check(context.Background(), ref, depth)
		if depth < found {
			must(t, err)
			continue
		}
		var infra *runner.InfraError
		if !errors.As(err, &infra) || infra.Kind != runner.KindSnapshot || !strings.Contains(err.Error(), says) {
			t.Errorf("%s, depth %d: the error is %v, want %q", ref, depth, err, says)
		}
	}
}

// wantSetAside fails unless removing one snapshot with a damaged layer removes
// all, the layer with them, and nothing else.
func wantSetAside(t *testing.T, dir string, s store, layer string) {
	t.Helper()
	must(t, s.Remove("child"))
	for _, ref := range []runner.SnapshotRef{"child", "whole"} {
		wantFound(t, s, ref, runner.CheckExists, "does not exist any more")
	}
	must(t, s.Sweep(context.Background(), true))
	if _, err := os.Lstat(layer); err == nil && isDirectory(layer) {
		t.Error("the layer is still there")
	}
	must(t, s.Check(context.Background(), "apart", runner.CheckContents))
	must(t, s.Close())
	must(t, open(t, dir).Check(context.Background(), "apart", runner.CheckContents))
}

func isDirectory(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}

// TestDamagedRecords is a database with rows that nobody wrote so.
func TestDamagedRecords(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		statement string
		found     runner.CheckDepth
		says      string
	}{
		"files":     {"UPDATE layers SET files = x'00'", runner.CheckFiles, "was changed after it was kept"},
		"contents":  {"UPDATE layers SET contents = x'00'", runner.CheckContents, "was changed after it was kept"},
		"modes":     {"UPDATE layers SET modes = x'0102'", runner.CheckFiles, "its record is damaged"},
		"gap":       {"DELETE FROM snapshot_layers WHERE ref = 'child' AND place = 0", runner.CheckExists, "its record is damaged"},
		"elsewhere": {"UPDATE snapshot_layers SET layer = '../live'", runner.CheckExists, "its record is damaged"},
		"nowhere":   {"UPDATE snapshot_layers SET layer = '..'", runner.CheckExists, "its record is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			_, s := kept(t, dir)
			damageRecords(t, dir, tt.statement)
			wantFound(t, s, "child", tt.found, tt.says)
			if tt.found == runner.CheckExists {
				if _, err := s.Fork("child"); err == nil {
					t.Error("a step can start from it")
				}
			}
			must(t, s.Remove("child", "whole", "apart"), s.Sweep(context.Background(), true), s.Close())
			left, err := filepath.Glob(filepath.Join(dir, "layers/*"))
			must(t, err)
			if len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func damageRecords(t *testing.T, dir, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir+"-records", "records.db")+"?_pragma=busy_timeout(10000)&_pragma=foreign_keys(0)")
	must(t, err)
	_, err = db.Exec(statement)
	must(t, err, db.Close())
}

// TestTouchedByNobody does to a layer what Strata and its user may do.
func TestTouchedByNobody(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "store")
	workspace, s := kept(t, dir)
	must(t, os.Link(filepath.Join(workspace, "d/file"), filepath.Join(t.TempDir(), "name")))
	_, err := os.ReadFile(filepath.Join(workspace, "other"))
	must(t, err)
	for _, ref := range []runner.SnapshotRef{"whole", "child", "apart"} {
		must(t, s.Check(context.Background(), ref, runner.CheckContents))
	}
}

func FuzzModes(f *testing.F) {
	for _, seed := range [][]byte{nil, {1, 2}, {0, 0, 0, 0, 1, 'a'}, {0, 0, 0, 0, 1, 'a', 1, 0, 0, 0, 2, 'a', 'b'}, {0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1}} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		modes, err := snapshot.DecodeModes(data)
		if err != nil {
			return
		}
		again, err := snapshot.DecodeModes(snapshot.EncodeModes(modes))
		if err != nil || len(again) != len(modes) {
			t.Fatalf("%v became %v, %v", modes, again, err)
		}
		for path, mode := range modes {
			if again[path] != mode {
				t.Errorf("%q: %v became %v", path, mode, again[path])
			}
		}
	})
}

// TestReadOnly looks at a store as a plan does that is only shown.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	dir := filepath.Join(home, "store")
	_, s := kept(t, dir)
	commit(t, s, "", "left", func(upper string) { must(t, os.WriteFile(filepath.Join(upper, "new"), nil, 0o644)) })
	s.Crash()
	before := everything(t, home)
	db, err := records.Open(dir+"-records", records.Options{ReadOnly: true})
	must(t, err)
	looking, err := snapshot.Open(dir, db)
	must(t, err, looking.Check(context.Background(), "child", runner.CheckExists))
	if err := looking.Check(context.Background(), "left", runner.CheckExists); err == nil {
		t.Error("what was not kept is there")
	}
	if _, err := looking.Fork("child"); err == nil {
		t.Error("a step can start")
	}
	must(t, looking.Close(), db.Close())
	if after := everything(t, home); !slices.Equal(before, after) {
		t.Errorf("there was %v, and is %v", before, after)
	}
}

// everything lists what there is in dir, and when it was last changed.
func everything(t *testing.T, dir string) (entries []string) {
	t.Helper()
	must(t, filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil {
			entries = append(entries, fmt.Sprint(path, info.Mode(), info.Size(), info.ModTime()))
		}
		return err
	}))
	return entries
}
