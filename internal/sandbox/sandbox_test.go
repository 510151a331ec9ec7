//go:build linux

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	switch {
	case IsCell(os.Args):
		CellMain(os.Args)
	case len(os.Args) == 3 && os.Args[1] == probeArg:
		os.Exit(runProbe(os.Args[2]))
	}
	os.Exit(m.Run())
}

// box is a cell with a small root: this machine's programs, and this test
// binary as /probe.
type box struct {
	t     testing.TB
	cell  *Cell
	dir   string
	base  string // the root's lowest layer
	binds []Mount
	made  int // overlays made
	over  bool
}

func newBox(t testing.TB, cgroups *Cgroups) *box {
	t.Helper()
	dir := t.TempDir()
	b := &box{t: t, dir: dir, base: filepath.Join(dir, "base")}
	for _, d := range []string{"scratch", "base/proc", "base/dev", "base/sys", "base/tmp", "base/data"} {
		must(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	for _, name := range []string{"bin", "sbin", "lib", "lib32", "lib64", "usr"} {
		b.show(name)
	}
	self, err := os.Executable()
	must(t, err)
	must(t, os.WriteFile(filepath.Join(b.base, "probe"), nil, 0o755))
	b.binds = append(b.binds, Mount{Target: "probe", Source: self, ReadOnly: true})
	b.cell, err = Start(Config{Scratch: filepath.Join(dir, "scratch"), Cgroups: cgroups})
	must(t, err)
	t.Cleanup(b.close)
	return b
}

func (b *box) close() {
	b.t.Helper()
	if !b.over {
		b.over = true
		must(b.t, b.cell.Close())
		b.unlock()
	}
}

// unlock makes what overlays leave removable: their work directories are made
// without permissions.
func (b *box) unlock() {
	for i := range b.made {
		must(b.t, filepath.WalkDir(filepath.Join(b.dir, fmt.Sprintf("work%d", i+1)), func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				err = os.Chmod(path, 0o700)
			}
			return err
		}))
	}
}

// show makes one of the machine's top directories part of the root.
func (b *box) show(name string) {
	source := filepath.Join("/", name)
	info, err := os.Lstat(source)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		b.t.Fatal(err)
	case info.IsDir():
		must(b.t, os.Mkdir(filepath.Join(b.base, name), 0o755))
		b.binds = append(b.binds, Mount{Target: name, Source: source, ReadOnly: true})
	default:
		target, err := os.Readlink(source)
		must(b.t, err)
		must(b.t, os.Symlink(target, filepath.Join(b.base, name)))
	}
}

// overlay returns a mount over lower with empty layers of its own.
func (b *box) overlay(target, lower string) Mount {
	b.made++
	m := Mount{
		Target: target, Lowers: []string{lower},
		Upper: filepath.Join(b.dir, fmt.Sprintf("upper%d", b.made)), Work: filepath.Join(b.dir, fmt.Sprintf("work%d", b.made)),
	}
	must(b.t, errors.Join(os.Mkdir(m.Upper, 0o755), os.Mkdir(m.Work, 0o755)))
	return m
}

func (b *box) spec(argv ...string) Spec {
	return Spec{
		Mounts: append([]Mount{b.overlay(".", b.base)}, b.binds...),
		Argv:   argv, Env: []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "GORACE=atexit_sleep_ms=0", "GOCOVERDIR=/tmp"}, Dir: "/", Hostname: "box",
	}
}

func sh(script string) []string { return []string{"sh", "-c", script} }

// start runs a command and gives its output to read.
func (b *box) start(spec Spec, control Control) (output io.Reader, end func() (Result, error)) {
	b.t.Helper()
	r, w, err := os.Pipe()
	must(b.t, err)
	b.t.Cleanup(func() { r.Close() })
	type outcome struct {
		result Result
		err    error
	}
	ended := make(chan outcome, 1)
	go func() {
		result, err := b.cell.Run(context.Background(), spec, Output{Out: w, Err: w}, control)
		w.Close()
		ended <- outcome{result, err}
	}()
	return r, func() (Result, error) { o := <-ended; return o.result, o.err }
}

// try runs a command to its end.
func (b *box) try(spec Spec) (string, Result, error) {
	b.t.Helper()
	r, end := b.start(spec, Control{})
	output, err := io.ReadAll(r)
	must(b.t, err)
	result, err := end()
	return string(output), result, err
}

func (b *box) run(spec Spec) (string, Result) {
	b.t.Helper()
	output, result, err := b.try(spec)
	if err != nil {
		b.t.Fatalf("run %q: %v\n%s", spec.Argv, err, output)
	}
	return output, result
}

// output runs a command that must exit with 0.
func (b *box) output(spec Spec) string {
	b.t.Helper()
	output, result := b.run(spec)
	if result.ExitCode != 0 {
		b.t.Fatalf("%q: %+v\n%s", spec.Argv, result, output)
	}
	return output
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestEnds(t *testing.T) {
	b := newBox(t, nil)
	for script, want := range map[string]Result{
		"exit 0": {}, "exit 137": {ExitCode: 137}, "kill -TERM $$": {ExitCode: -1, Signal: unix.SIGTERM},
	} {
		_, got := b.run(b.spec(sh(script)...))
		if got.ExitCode != want.ExitCode || got.Signal != want.Signal || got.OutOfMemory {
			t.Errorf("%s: %+v", script, got)
		}
	}
}

func TestStartErrors(t *testing.T) {
	b := newBox(t, nil)
	cases := map[string]struct {
		change func(*Spec)
		stage  Stage
		errno  unix.Errno
		text   string
	}{
		"no program":       {func(s *Spec) { s.Argv = []string{"nothere"} }, StageStart, unix.ENOENT, "there is no program nothere in the step's PATH"},
		"no directory":     {func(s *Spec) { s.Dir = "/nowhere" }, StageStart, unix.ENOENT, "the step's directory /nowhere does not exist"},
		"a file":           {func(s *Spec) { s.Dir = "/probe" }, StageStart, unix.ENOTDIR, "the step's directory /probe is a file"},
		"a NUL":            {func(s *Spec) { s.Argv = []string{"true", "a\x00b"} }, StageStart, unix.EINVAL, "start true"},
		"no mount point":   {func(s *Spec) { s.Mounts = append(s.Mounts, Mount{Target: "nowhere", Source: "/usr"}) }, StageMount, unix.ENOENT, "/nowhere"},
		"no source":        {func(s *Spec) { s.Mounts = append(s.Mounts, Mount{Target: "data", Source: "/does/not/exist"}) }, StageMount, unix.ENOENT, "/does/not/exist"},
		"limits, no group": {func(s *Spec) { s.Limits.Memory = 1 << 30 }, StageLimit, 0, "no memory limit can be set: control groups are not in use"},
	}
	for name, c := range cases {
		spec := b.spec("true")
		c.change(&spec)
		_, _, err := b.try(spec)
		var failed *Error
		if !errors.As(err, &failed) || failed.Stage != c.stage || failed.Errno != c.errno || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %#v", name, err)
		}
		b.output(b.spec("true")) // the cell goes on
	}
}

// A layer from elsewhere may put links where the sandbox mounts.
func TestMountPointsAreNotFollowed(t *testing.T) {
	for _, name := range []string{"proc", "dev", "sys", "data"} {
		b := newBox(t, nil)
		must(t, os.Remove(filepath.Join(b.base, name)))
		must(t, os.Symlink("/usr", filepath.Join(b.base, name)))
		spec := b.spec("true")
		if name == "data" {
			spec.Mounts = append(spec.Mounts, Mount{Target: "data/share", Source: "/usr/share"})
		}
		_, _, err := b.try(spec)
		var failed *Error
		if !errors.As(err, &failed) || failed.Stage != StageMount || failed.Errno != unix.ELOOP {
			t.Errorf("%s is a link: %v", name, err)
		}
	}
}

func TestKeptOverlays(t *testing.T) {
	b := newBox(t, nil)
	lower := filepath.Join(b.dir, "lower")
	must(t, os.Mkdir(lower, 0o755))
	must(t, os.WriteFile(filepath.Join(lower, "old"), []byte("old"), 0o644))
	kept := b.overlay("data", lower)
	kept.Keep = "data"
	run := func(script string) (string, Result) {
		spec := b.spec(sh(script)...)
		spec.Mounts = append(spec.Mounts, kept)
		return b.run(spec)
	}
	for range 2 {
		if out, result := run("cat /data/old"); out != "old" || len(result.Changed) != 0 {
			t.Fatalf("only read: %q, %+v", out, result)
		}
	}
	if out, result := run("rm /data/old && echo new > /data/new"); !slices.Equal(result.Changed, []string{"data"}) {
		t.Fatalf("changed: %q, %+v", out, result)
	}
	names, err := filepath.Glob(kept.Upper + "/*")
	if must(t, err); len(names) != 2 {
		t.Errorf("the change is not in the upper directory: %v", names)
	}
	kept = b.overlay("data", lower)
	kept.Keep = "data"
	if out, result := run("ls /data"); out != "old\n" || len(result.Changed) != 0 {
		t.Errorf("a new overlay of the same name: %q, %+v", out, result)
	}
}

func TestReadOnlyMounts(t *testing.T) {
	b := newBox(t, nil)
	out, result := b.run(b.spec(sh("echo x > /usr/x")...))
	if result.ExitCode == 0 || !strings.Contains(out, "Read-only file system") {
		t.Errorf("%+v %s", result, out)
	}
}

func TestAbandonedCellIsLost(t *testing.T) {
	b := newBox(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	go func() {
		_, _ = io.ReadFull(r, make([]byte, 1)) // the command runs
		cancel()
	}()
	_, err = b.cell.Run(ctx, b.spec(sh("echo; exec sleep 1000")...), Output{Out: w, Err: w}, Control{})
	w.Close()
	if !errors.Is(err, ErrLost) || !b.cell.Lost() {
		t.Errorf("%v, lost: %v", err, b.cell.Lost())
	}
}

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	write := func(path string, mode os.FileMode) {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, path), nil, mode))
	}
	write("a/plain", 0o644)
	write("b/plain", 0o755)
	write("b/tool", 0o755)
	write("work/rel/tool", 0o755)
	write("work/tool", 0o755)
	must(t, os.MkdirAll(filepath.Join(dir, "a/tool"), 0o755))
	a, b, work := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "work")
	cases := []struct {
		name, path, want string
		errno            unix.Errno
	}{
		{"tool", a + ":" + b, b + "/tool", 0}, // a directory of that name is passed over
		{"plain", a + ":" + b, b + "/plain", 0},
		{"tool", "rel:" + b, work + "/rel/tool", 0},
		{"tool", ":" + b, work + "/tool", 0}, // an empty entry is the working directory
		{"./tool", "", work + "/tool", 0},
		{"rel/tool", b, work + "/rel/tool", 0},
		{b + "/tool", "", b + "/tool", 0},
		{"tool", "", "", unix.ENOENT},
		{"nothere", a + ":" + b, "", unix.ENOENT},
		{"../nothere", b, "", unix.ENOENT},
		{a + "/plain", "", "", unix.EACCES},
		{a + "/tool", "", "", unix.EISDIR},
		{a + "/plain/x", "", "", unix.ENOTDIR},
	}
	for _, c := range cases {
		got, err := lookPath(c.name, []string{"PATH=/wrong", "XPATH=/wrong", "PATH=" + c.path}, work)
		if c.errno == 0 && (err != nil || got != c.want) {
			t.Errorf("%s in %q: %q, %v, want %q", c.name, c.path, got, err, c.want)
		}
		if c.errno != 0 && !errors.Is(err, c.errno) {
			t.Errorf("%s in %q: %q, %v, want %v", c.name, c.path, got, err, c.errno)
		}
	}
}
