package filetree_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/internal/filetree"
)

func TestCopyKeepsUserAttributes(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	long := strings.Repeat("v", 1000)
	must(t, os.Mkdir(filepath.Join(src, "dir"), 0o755))
	write(t, filepath.Join(src, "file"), "", 0o644)
	for _, name := range []string{"dir", "file"} {
		must(t, unix.Lsetxattr(filepath.Join(src, name), "user.long", []byte(long), 0))
	}
	must(t,
		unix.Lsetxattr(filepath.Join(src, "dir"), "user.overlay.opaque", []byte("y"), 0),
		unix.Lsetxattr(filepath.Join(src, "dir"), "user.overlay.overlay.opaque", []byte("y"), 0),
		filetree.Copy(context.Background(), src, dst, nil))
	for _, name := range []string{"dir", "file"} {
		if same, err := filetree.SameXattrs(filepath.Join(src, name), filepath.Join(dst, name)); !same {
			t.Errorf("the attributes of %s differ: %v", name, err)
		}
	}
	names, err := filetree.Xattrs(filepath.Join(dst, "dir"))
	if err != nil || strings.Join(names, " ") != "user.long user.overlay.overlay.opaque" {
		t.Errorf("the directory has %q, %v", names, err)
	}
	if _, err := unix.Lgetxattr(filepath.Join(dst, "dir"), "user.overlay.opaque", nil); err != unix.ENODATA {
		t.Errorf("overlayfs's own mark was copied: %v", err)
	}
	must(t, unix.Lsetxattr(filepath.Join(dst, "file"), "user.long", []byte("other"), 0))
	if same, err := filetree.SameXattrs(filepath.Join(src, "file"), filepath.Join(dst, "file")); same || err != nil {
		t.Errorf("a difference is not seen: %v", err)
	}
}

func TestDigestHoldsAttributes(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "d/file"), "x", 0o644)
	seen := map[[32]byte]string{digest(t, dir).Contents: "nothing"}
	for _, attr := range []string{"user.a=1", "user.a=2", "user.overlay.opaque=y"} {
		name, value, _ := strings.Cut(attr, "=")
		err := unix.Lsetxattr(filepath.Join(dir, "d"), name, []byte(value), 0)
		if errors.Is(err, unix.EOPNOTSUPP) {
			t.Skip("run where the temporary directory can have attributes of users")
		}
		must(t, err)
		sum := digest(t, dir)
		if other, ok := seen[sum.Contents]; ok {
			t.Errorf("with %s the digest is as with %s", attr, other)
		}
		seen[sum.Contents] = attr
	}
}
