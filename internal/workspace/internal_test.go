package workspace

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func capturedIndex(t *testing.T, s *Store) *index {
	t.Helper()
	c, _, err := s.Capture(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	x, err := loadIndex(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func openStore(t *testing.T) *Store {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	s, err := Open(t.TempDir(), t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A change in the same tick of the clock as the capture leaves no trace in the
// stat. It is made here by writing the new stat into the old index.
func TestAChangeWithoutATraceIsFound(t *testing.T) {
	s := openStore(t)
	path := filepath.Join(s.root, "f")
	write := func(content string) stat {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		st, err := lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	for _, test := range []struct {
		name  string
		later time.Duration // of the scan, after the change
		found bool
	}{
		{"in the same tick", 0, true},
		{"the clock lags", 15 * time.Millisecond, true},
		{"long ago", time.Hour, false}, // so that the test is about the rule
	} {
		write("old")
		before := capturedIndex(t, s)
		st := write("new")
		changed := st.ctime
		if changed == (instant{}) {
			changed = st.mtime
		}
		before.root.kid("f").stat = st
		before.root.stat = directoryStat(must(lstat(s.root)))
		before.scanned = instantOf(changed.time().Add(test.later))
		if err := saveIndex(s.dir, before); err != nil {
			t.Fatal(err)
		}
		after := capturedIndex(t, s)
		if found := after.id != before.id; found != test.found {
			t.Errorf("%s: found: %v", test.name, found)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestLayersOfAnotherBootAreNotTrusted(t *testing.T) {
	s := openStore(t)
	if err := os.WriteFile(filepath.Join(s.root, "f"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	first := capturedIndex(t, s)
	s.boot = "another"
	c, stats, err := s.Capture(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if len(stats.Notes) != 1 || !strings.Contains(stats.Notes[0], "restarted") || stats.Bytes != 1 || c.ID() != first.id {
		t.Errorf("after another boot: %+v", stats)
	}
	s.boot = "" // unknown: everything is synced instead, and trusted
	c2, _, err := s.Capture(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c2.Close()
	if x := capturedIndex(t, s); x.boot != "" || x.id != first.id {
		t.Errorf("without a boot ID: %+v", x)
	}
}

func TestSpreadVisitsEverythingOnce(t *testing.T) {
	var visits atomic.Int64
	err := spread(t.Context(), 4, 16, func(depth int, push func(int)) error {
		visits.Add(1)
		if depth > 0 {
			push(depth - 1)
			push(depth - 1)
		}
		return nil
	})
	if err != nil || visits.Load() != 1<<17-1 {
		t.Errorf("%d visits, error %v", visits.Load(), err)
	}
}

func TestSpreadStopsAtTheFirstError(t *testing.T) {
	bad := errors.New("bad")
	err := spread(t.Context(), 4, 0, func(n int, push func(int)) error {
		if n == 1000 {
			return bad
		}
		push(n + 1) // without end, but for the error
		push(n + 1)
		return nil
	})
	if !errors.Is(err, bad) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = spread(ctx, 2, 0, func(n int, push func(int)) error {
		if n == 100 {
			cancel()
		}
		push(n + 1)
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// FuzzIndex: what decodes is what was encoded, byte for byte.
func FuzzIndex(f *testing.F) {
	kids := []node{
		{name: "dir", stat: stat{mode: typeDir | 0o755}, kids: []node{{name: "f", stat: stat{mode: typeRegular, size: 3}}}},
		{name: "link", stat: stat{mode: typeLink | 0o777, mtime: instant{-5, 7}}, target: "dir"},
	}
	root := &node{stat: stat{mode: typeDir | 0o755}, kids: kids}
	x := &index{scanned: instant{1, 2}, boot: "b", id: strings.Repeat("ab", 32), layers: []string{"1", "22"}, root: root}
	whole := encodeIndex(x)
	f.Add(whole[len(indexMagic) : len(whole)-crc32.Size])
	f.Add(encodeIndex(&index{id: x.id, layers: []string{"9"}, root: &node{stat: stat{mode: typeDir}}})[len(indexMagic):])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		data := append([]byte(indexMagic), body...)
		data = binary.LittleEndian.AppendUint32(data, crc32.Checksum(data, castagnoli))
		got, err := decodeIndex(data)
		if err != nil {
			if !errors.Is(err, errBadIndex) {
				t.Fatalf("another error: %v", err)
			}
			return
		}
		if again := encodeIndex(got); string(again) != string(data) {
			t.Fatalf("decoded\n%q\nencoded again\n%q", data, again)
		}
	})
}

// FuzzIgnore: no input panics or takes long, and the cheap test before the
// automaton never says no where that says yes.
func FuzzIgnore(f *testing.F) {
	f.Add("*.o\n!keep.o\n/build/\n", "a/b/keep.o")
	f.Add("a**/b\n**/x/**\n[a-z]?\\*\n", "ab")
	f.Add("[[:alpha:]-]]\n[!]]\n[\n", "x]")
	f.Add(strings.Repeat("a*", 30)+"b", strings.Repeat("a", 200))
	f.Add(strings.Repeat("**/*", 30)+"b", strings.Repeat("a/", 200))
	f.Fuzz(func(t *testing.T, rules, path string) {
		parsed, err := parseRules([]byte(rules))
		if err != nil {
			return
		}
		dir, name := "", path
		if i := strings.LastIndexByte(path, '/'); i >= 0 {
			dir, name = path[:i], path[i+1:]
		}
		if name == "" || len(path) > 4096 {
			return
		}
		ruleSet{}.enter("", &ignoreFile{rules: parsed}, &ignoreFile{rules: parsed}).excluded(dir, name, true)
		for i := range parsed {
			r := &parsed[i]
			text := path
			if r.basename {
				text = name
			}
			if r.glob.match(text) && !r.glob.mayEnd(name) {
				t.Fatalf("%q matches rule %d of %q, but cannot end so", text, i, rules)
			}
		}
	})
}

// TestCancelledWithinAFile ends copies in the middle of a file, which may take
// minutes to copy.
func TestCancelledWithinAFile(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	path := filepath.Join(t.TempDir(), "huge")
	const size = 3 * copyPiece
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	src, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	cancel()
	c := newCopier(ctx)
	if _, err := c.hash(nil, src, size); !errors.Is(err, context.Canceled) {
		t.Errorf("hash: %v", err)
	}
	if at, err := src.Seek(0, 1); err != nil || at == size {
		t.Errorf("the whole file was read (%v)", err)
	}
	c.noClone.Store(true)
	dst := filepath.Join(t.TempDir(), "copy")
	if err := c.copyFile(path, dst, &stat{mode: typeRegular | 0o644}, false); !errors.Is(err, context.Canceled) {
		t.Errorf("copyFile: %v", err)
	}
	if _, err := os.Stat(dst); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a part of the copy is left (%v)", err)
	}
}
