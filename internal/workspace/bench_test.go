package workspace_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/strata-ci/strata/internal/workspace"
)

// BenchmarkUnchanged50k captures an unchanged tree of 50,000 files in 2,500
// directories, in turn with "git status" on the same tree.
func BenchmarkUnchanged50k(b *testing.B) {
	b.Setenv("HOME", b.TempDir())
	root := b.TempDir()
	for d := range 2500 {
		dir := filepath.Join(root, fmt.Sprintf("pkg%02d", d/50), fmt.Sprintf("part%02d", d%50))
		check(b, os.MkdirAll(dir, 0o755))
		for f := range 20 {
			check(b, os.WriteFile(filepath.Join(dir, fmt.Sprintf("file%02d.go", f)), fmt.Appendf(nil, "package p%d_%d\n", d, f), 0o644))
		}
	}
	check(b, os.WriteFile(filepath.Join(root, ".gitignore"), []byte("*.o\n*.log\n/bin/\nnode_modules/\n**/tmp/*.x\n*.py[co]\n"), 0o644))
	git := func(args ...string) {
		cmd := exec.Command("git", args...)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	git("init", "-q")
	git("add", ".")
	git("-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "a")
	store, err := workspace.Open(filepath.Join(b.TempDir(), "state"), root, workspace.Options{})
	check(b, err)
	capture := func() {
		c, _, err := store.Capture(b.Context())
		check(b, err)
		check(b, c.Close())
	}
	for range 3 { // until no entry is too young to be trusted
		capture()
		git("status", "--porcelain")
	}
	var ours, theirs []time.Duration
	for b.Loop() {
		start := time.Now()
		capture()
		ours = append(ours, time.Since(start))
		start = time.Now()
		git("status", "--porcelain")
		theirs = append(theirs, time.Since(start))
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(ours[0]), "best-ms")
	b.ReportMetric(ms(ours[len(ours)/2]), "median-ms")
	b.ReportMetric(ms(theirs[0]), "git-best-ms")
	b.ReportMetric(ms(theirs[len(theirs)/2]), "git-median-ms")
	b.ReportMetric(0, "ns/op")
}

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
