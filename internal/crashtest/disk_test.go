//go:build linux && faults

package crashtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/internal/fault"
)

// TestFailingDisk makes the disk fail at each place, for once or from then on.
// Such a run may end as an infrastructure failure, or as if nothing had been;
// it never says anything wrong, and the next one is as it should be.
func TestFailingDisk(t *testing.T) {
	for _, sc := range scenarios() {
		for _, kind := range []fault.Kind{fault.Full, fault.Broken} {
			t.Run(sc.name+"/"+string(kind), func(t *testing.T) {
				t.Parallel()
				s := newSite(t)
				s.again(sc.pipeline, "nothing")
				names := s.places(sc)
				for n, name := range names {
					if kind == fault.Full && n%3 != 0 {
						continue // what fails from one place on fails from the next on much like that
					}
					sc.prepare(s)
					o := s.disturbed(sc, fault.At(kind, n+1))
					survived.failures.Add(1)
					after := fmt.Sprintf("%s, %s at place %d of %d, about %s", sc.name, kind, n+1, len(names), name)
					if err := s.checkFailure(sc.pipeline, o); err != nil {
						t.Fatalf("%s: %v", after, err)
					}
					s.alone(after)
					s.again(sc.pipeline, after)
				}
				s.whole("after all of that")
			})
		}
	}
}

// checkFailure says what is wrong with a run whose disk failed.
func (s *site) checkFailure(pipeline string, o outcome) error {
	const infrastructure = 3
	switch {
	case o.code != verdict(pipeline) && o.code != infrastructure:
		return fmt.Errorf("the verdict is wrong: %v", o)
	case o.code == infrastructure && o.stderr == "" && !o.explained():
		return fmt.Errorf("nothing says what failed: %v", o)
	}
	return s.checkOutput(pipeline, o)
}

// explained reports whether an event says why the run failed.
func (o outcome) explained() bool {
	for _, e := range o.events {
		if e.Error != nil && e.Error.Message != "" {
			return true
		}
	}
	return false
}

// TestFullDisk lets a real disk fill up while Strata and its steps write to it,
// a little later in each run.
func TestFullDisk(t *testing.T) {
	const step, most = 16 << 10, 512 << 10 // bytes
	for _, sc := range scenarios() {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			disk := filepath.Join(filepath.Dir(s.project), "disk")
			s.home = filepath.Join(disk, "state")
			if err := errors.Join(os.Mkdir(disk, 0o755), unix.Mount("tmpfs", disk, "tmpfs", 0, "size=64m")); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
			s.again(sc.pipeline, "nothing")
			for left := step; left < most; left += step {
				sc.prepare(s)
				s.resize(disk, s.used(disk)+left)
				o := s.disturbed(sc)
				s.resize(disk, 64<<20)
				survived.failures.Add(1)
				after := fmt.Sprintf("%s, with %d bytes of disk left", sc.name, left)
				if err := s.checkFailure(sc.pipeline, o); err != nil {
					t.Fatalf("%s: %v", after, err)
				}
				s.alone(after)
				s.again(sc.pipeline, after)
			}
			s.whole("after all of that")
		})
	}
}

// resize changes how large a file system in memory may become.
func (s *site) resize(dir string, size int) {
	s.Helper()
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, fmt.Sprintf("size=%d", size)); err != nil {
		s.Fatal(err)
	}
}

// used is how many bytes of a file system are in use.
func (s *site) used(dir string) int {
	s.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		s.Fatal(err)
	}
	return int(st.Blocks-st.Bfree) * int(st.Bsize)
}
