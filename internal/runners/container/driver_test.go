//go:build linux

package container

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/runner"
)

// inBoth runs a test with both drivers.
func inBoth(t *testing.T, test func(t *testing.T, opts Options)) {
	t.Run("overlay", func(t *testing.T) { test(t, Options{}) })
	t.Run("copies", func(t *testing.T) { test(t, Options{ForceCopy: true}) })
}

func commitAs(ref runner.SnapshotRef) func(*runner.ExecutorInput) {
	return func(in *runner.ExecutorInput) {
		in.Cache = runner.CacheDecision{Action: runner.MissBuildAs, Ref: ref}
	}
}

func from(ref runner.SnapshotRef) func(*runner.ExecutorInput) {
	return func(in *runner.ExecutorInput) { in.Parent = ref }
}

func TestOverlaysWhereTheyWork(t *testing.T) {
	if d := newLab(t, Options{}).runner.Driver(); d != (Driver{Name: "overlay"}) {
		t.Errorf("the driver is %+v", d)
	}
}

// TestStateOnAnOverlay is a machine such as a container, whose own files lie on
// overlayfs, which cannot be an upper layer again.
func TestStateOnAnOverlay(t *testing.T) { inOwnMounts(t, "TestHelperStateOnAnOverlay") }

func TestHelperStateOnAnOverlay(t *testing.T) {
	if os.Getenv(ownMounts) == "" {
		return // it is for TestStateOnAnOverlay to start
	}
	l := newLab(t, Options{StateDir: mountOverlay(t)})
	d := l.runner.Driver()
	if d.Name != "copies" || !strings.Contains(d.Reason, "(overlay)") || !strings.Contains(d.Fix, "STRATA_HOME") {
		t.Errorf("the driver is %+v", d)
	}
	if f := l.runner.SnapshotFormat(); f != "" {
		t.Errorf("others are offered snapshots in the format %q", f)
	}
	l.must("echo 1 > file; echo 2 > /root/file; echo 3 > /var/tmp/file", commitAs("parent"))
	if out := l.must("cat file /root/file /var/tmp/file", from("parent")); out != "1\n2\n3\n" {
		t.Errorf("the child sees %q", out)
	}
	wrongKnowledge(t, l.runner.opts)
}

// wrongKnowledge is a machine that does not do what was written down of it.
func wrongKnowledge(t *testing.T, opts Options) {
	t.Helper()
	file := probePath(opts.StateDir)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes.Replace(data, []byte(`"copies"`), []byte(`"overlay"`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	l := newLab(t, opts)
	if _, _, err := l.sh("true"); err == nil {
		t.Fatal("an overlay works here")
	}
	next := newLab(t, opts)
	if d := next.runner.Driver(); d.Name != "copies" {
		t.Errorf("the driver is still %+v", d)
	}
	next.must("true")
}

func mountOverlay(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	merged := filepath.Join(dir, "merged")
	options := "userxattr,lowerdir=" + dir + "/lower,upperdir=" + dir + "/upper,workdir=" + dir + "/work"
	if err := unix.Mount("overlay", merged, "overlay", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(unix.Unmount(merged, unix.MNT_DETACH), unix.Unmount(dir, unix.MNT_DETACH)); err != nil {
			t.Error(err)
		}
	})
	return merged
}

// TestStateInASystemDirectory is a service whose home lies in /var/lib.
func TestStateInASystemDirectory(t *testing.T) { inOwnMounts(t, "TestHelperStateInASystemDirectory") }

func TestHelperStateInASystemDirectory(t *testing.T) {
	if os.Getenv(ownMounts) == "" {
		return // it is for TestStateInASystemDirectory to start
	}
	// Not a mount point of its own: the state and what is around it are one file system.
	if err := unix.Mount("tmpfs", "/var/lib", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"/var/lib/ci/strata", "/var/lib/other"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, opts := range map[string]Options{"overlay": {}, "copies": {ForceCopy: true}} {
		opts.StateDir = "/var/lib/ci/strata"
		l := newLab(t, opts)
		if d := l.runner.Driver(); d.Name != name {
			t.Fatalf("the driver is %+v", d)
		}
		l.must("test -d /var/lib/other && test ! -e /var/lib/ci/strata/live")
	}
}

// TestLinksCannotLeadACopyToTheMachine is a step that wants the machine's root
// mounted, writable, in place of a directory of its own.
func TestLinksCannotLeadACopyToTheMachine(t *testing.T) {
	inOwnMounts(t, "TestHelperLinks")
}

func TestHelperLinks(t *testing.T) {
	if os.Getenv(ownMounts) == "" {
		return // it is for TestLinksCannotLeadACopyToTheMachine to start
	}
	if err := unix.Mount("tmpfs", "/var/lib/dpkg", "tmpfs", 0, ""); err != nil { // so that /var is the step's
		t.Fatal(err)
	}
	dir := t.TempDir()
	l := newLab(t, Options{ForceCopy: true})
	l.must("mv /var /moved && mkdir /var && ln -s / /var/tmp && ln -s "+dir+" /var/lib", commitAs("parent"))
	if out, result, err := l.sh("ls /var/tmp /var/lib", from("parent")); err == nil {
		t.Errorf("the child ran: %+v %s", result, out)
	}
	l.must("rmdir /mnt && ln -s "+dir+" /mnt", commitAs("link"))
	tool := t.TempDir()
	_, _, err := l.sh("true", from("link"), withArgs(map[string]any{"host_paths": []string{tool}}))
	if err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("the step made %v on the machine, %v", entries, err)
	}
}

func TestCopiesShowSystemDirectoriesReadOnly(t *testing.T) {
	l := newLab(t, Options{ForceCopy: true})
	for _, dir := range []string{"/usr", "/etc", "/opt", "/var"} {
		if out, result, err := l.sh("touch " + dir + "/new"); err != nil || result.Passed() || !strings.Contains(out, "Read-only") {
			t.Errorf("%s can be written to: %v %s", dir, err, out)
		}
	}
	l.must("touch /tmp/new /var/tmp/new /root/new /home/new /run/new /workspace/new")
}

func TestHostPathsLeaveNoTraceInCopies(t *testing.T) {
	l := newLab(t, Options{ForceCopy: true})
	dir := t.TempDir()
	l.must("test -d "+dir, withArgs(map[string]any{"host_paths": []string{dir}}), commitAs("parent"))
	l.must("test ! -e "+dir, from("parent"))
}
