package image

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// memory is Digests that end with the process.
type memory map[string][2]string

func (m memory) Get(_ context.Context, path string, stamp []byte) ([]byte, error) {
	if e, ok := m[path]; ok && e[0] == string(stamp) {
		return []byte(e[1]), nil
	}
	return nil, nil
}

func (m memory) Put(_ context.Context, path string, stamp, digest []byte) error {
	m[path] = [2]string{string(stamp), string(digest)}
	return nil
}

func hostParts(t *testing.T, digests Digests, dirs ...string) map[string]string {
	t.Helper()
	parts, err := Host(context.Background(), digests, dirs)
	must(t, err)
	return parts
}

func TestHostIsStable(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "tool"), []byte("x"), 0o755))
	first := hostParts(t, nil, dir)
	for _, name := range []string{"system", dir} {
		if first[name] == "" {
			t.Errorf("there is no part %q in %v", name, first)
		}
	}
	for name, value := range map[string]string{"TZ": "Asia/Tokyo", "LC_ALL": "de_DE.UTF-8", "HOME": t.TempDir(), "TMPDIR": t.TempDir()} {
		t.Setenv(name, value)
	}
	t.Chdir(t.TempDir())
	must(t, os.WriteFile(filepath.Join(t.TempDir(), "new"), nil, 0o600))
	digests := memory{}
	for _, how := range []Digests{nil, digests, digests} {
		if again := hostParts(t, how, dir, dir); !maps.Equal(first, again) {
			t.Errorf("a second look gives %v, want %v", again, first)
		}
	}
}

func TestHostFollowsTools(t *testing.T) {
	dir, away := t.TempDir(), t.TempDir()
	tool, real := filepath.Join(dir, "tool"), filepath.Join(away, "real")
	must(t, os.WriteFile(tool, []byte("one"), 0o755), os.WriteFile(real, []byte("one"), 0o755))
	if err := os.Symlink(real, filepath.Join(dir, "link")); err != nil {
		t.Skip("run where links can be made: ", err)
	}
	must(t, os.Symlink(filepath.Join(dir, "nowhere"), filepath.Join(dir, "dangling")))
	seen := map[string]string{hostParts(t, nil, dir)[dir]: "nothing"}
	for _, change := range []struct {
		name string
		do   func() error
	}{
		{"a new tool", func() error { return os.WriteFile(filepath.Join(dir, "new"), nil, 0o755) }},
		{"another mode", func() error { return os.Chmod(tool, 0o700) }},
		{"another size", func() error { return os.WriteFile(tool, []byte("three"), 0) }},
		{"another time", func() error { return os.Chtimes(tool, time.Time{}, time.Unix(1, 5)) }},
		{"another name", func() error { return os.Rename(tool, filepath.Join(dir, "renamed")) }},
		{"what a link leads to", func() error { return os.WriteFile(real, []byte("other"), 0) }},
		{"where a link leads", func() error {
			return os.Rename(filepath.Join(dir, "dangling"), filepath.Join(dir, "link"))
		}},
	} {
		must(t, change.do())
		value := hostParts(t, nil, dir)[dir]
		if same, ok := seen[value]; ok || value == "" {
			t.Errorf("after %s the part is %q, as after %s", change.name, value, same)
		}
		seen[value] = change.name
	}
}

func TestHostPassesOverWhatIsNotThere(t *testing.T) {
	dir := t.TempDir()
	file, loop := filepath.Join(dir, "file"), filepath.Join(dir, "loop")
	must(t, os.WriteFile(file, nil, 0o600), os.Symlink("loop", loop))
	if hostParts(t, nil, file)[file] == "" {
		t.Error("a file has no part")
	}
	dirs := []string{filepath.Join(dir, "missing"), filepath.Join(file, "below"), loop, "/" + strings.Repeat("x", 5000)}
	parts := hostParts(t, nil, dirs...)
	for _, d := range dirs {
		if value, ok := parts[d]; ok {
			t.Errorf("%.40s has the part %q", d, value)
		}
	}
}

func TestDirectoriesOfTwoLevels(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "python3/site"), 0o755))
	when := time.Unix(1e9, 0)
	look := func(levels int) string {
		must(t, os.Chtimes(filepath.Join(dir, "python3"), when, when))
		value, err := listing{dir, levels}.digest(map[string]string{})
		must(t, err)
		return value
	}
	one, two := look(1), look(2)
	must(t, os.WriteFile(filepath.Join(dir, "python3/site/new"), nil, 0o600))
	if look(1) != one {
		t.Error("one level looks at the second")
	}
	if look(2) == two {
		t.Error("two levels do not notice what was installed below")
	}
}

func TestFilesAreReadOnce(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "status")
	must(t, os.WriteFile(path, []byte("one"), 0o600))
	digests := memory{}
	look := func(now time.Time) string {
		t.Helper()
		digest, err := fileDigest(ctx, digests, path, now)
		must(t, err)
		return string(digest)
	}
	now, later := time.Now(), time.Now().Add(time.Hour)
	one := look(now)
	if len(digests) != 0 {
		t.Error("a digest was remembered of a file that was written to just now")
	}
	if look(now.Add(-time.Hour)) != one || len(digests) != 0 {
		t.Error("a digest was remembered of a file from the future")
	}
	info, err := os.Stat(path)
	must(t, err)
	if _, settled := stampOf(info, later); !settled {
		t.Skip("files of this system have no time that can be relied on")
	}
	if look(later) != one || len(digests) != 1 {
		t.Error("the digest was not remembered, or is another")
	}
	for p, e := range digests {
		digests[p] = [2]string{e[0], strings.Repeat("r", 32)}
	}
	if look(later) != strings.Repeat("r", 32) {
		t.Error("the digest that was remembered is not used")
	}
	must(t, os.WriteFile(path, []byte("two"), 0o600), os.Chtimes(path, info.ModTime(), info.ModTime()))
	if two := look(later); two == one || two == strings.Repeat("r", 32) {
		t.Error("what was remembered is used although the file was written to")
	}
}

func BenchmarkHost(b *testing.B) {
	digests := memory{}
	for b.Loop() {
		if _, err := Host(context.Background(), digests, nil); err != nil {
			b.Fatal(err)
		}
	}
}
