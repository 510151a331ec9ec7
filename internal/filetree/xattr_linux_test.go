package filetree_test

import (
	"context"
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
