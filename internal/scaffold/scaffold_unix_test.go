//go:build !windows

package scaffold

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Files that block, or never end, are not read.
func TestDetectOddFiles(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "package.json"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", filepath.Join(dir, "pyproject.toml")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("Makefile", filepath.Join(dir, "Makefile")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "go.mod"), 0o755); err != nil {
		t.Fatal(err)
	}
	project, err := Detect(dir)
	if err != nil || len(project.Parts) != 0 {
		t.Errorf("got %+v, %v", project, err)
	}
}

func TestDetectReadsABoundedPart(t *testing.T) {
	dir := t.TempDir()
	huge := "all:\n\ttrue\n" + strings.Repeat("# padding\n", maxFile/8) + "test:\n\ttrue\n"
	if err := os.WriteFile(filepath.Join(dir, "Makefile"), []byte(huge), 0o644); err != nil {
		t.Fatal(err)
	}
	project, err := Detect(dir)
	if err != nil || len(project.Parts) != 1 || len(project.Parts[0].Steps) != 1 {
		t.Errorf("got %+v, %v", project, err)
	}
}
