//go:build linux && faults

package crashtest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/internal/fault"
)

// Loss of power tests the order in which Strata writes. The state directory is
// on a file system of its own, in a file. At some place Strata is stopped, and
// the file is copied: it holds what has been written to the disk by then, which
// is what was synced and nothing else, for the kernel is told to write nothing
// by itself for minutes. The copy, mounted, is the disk that a machine would
// find that lost its power at that moment.
//
// A kernel may also have written any file early. The records are what must not
// be on the disk before the data that they tell of, so every second time they
// are written to the disk just before the power goes.

// power is a site on a disk that can lose its power.
type power struct {
	*site
	dir   string // of the images
	point string // where the disk is mounted
	boots int    // losses of power so far
	disks int    // copies so far
}

func newPower(t testing.TB) *power {
	t.Helper()
	program(t) // asks for root
	for _, tool := range []string{"mkfs.ext4", "mount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%v: install the packages e2fsprogs and mount", err)
		}
	}
	dir, err := os.MkdirTemp(scratch(), "power-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := &power{dir: dir, point: filepath.Join(dir, "disk")}
	if err := os.Mkdir(p.point, 0o755); err != nil {
		t.Fatal(err)
	}
	p.site = newSiteIn(t, dir, filepath.Join(p.point, "state"))
	p.make("whole")
	return p
}

func (p *power) image(name string) string { return filepath.Join(p.dir, name+".img") }

// make makes a disk with the state after some runs.
func (p *power) make(name string) {
	p.Helper()
	const size = 64 << 20
	f, err := os.Create(p.image(name))
	if err != nil {
		p.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		p.Fatal(err)
	}
	p.tool("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", p.image(name))
	p.mount(name)
	p.again("good", "nothing")
	p.again("bad", "nothing")
	p.sync()
	p.unmount()
}

func (p *power) tool(name string, args ...string) {
	p.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		p.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// mount mounts a disk that the kernel writes to only when it is asked to.
func (p *power) mount(name string) {
	p.Helper()
	p.tool("mount", "-o", "loop,commit=300", p.image(name), p.point)
	p.Cleanup(func() { _ = unix.Unmount(p.point, unix.MNT_DETACH) })
}

// unmount waits for processes of other tests that are being started: until they
// execute their program, they have all open that this one had.
func (p *power) unmount() {
	p.Helper()
	busy := eventuallyNone(func() []string {
		if err := unix.Unmount(p.point, 0); err != nil {
			return []string{err.Error()}
		}
		return nil
	})
	if len(busy) > 0 {
		p.Fatalf("unmount %s: %q", p.point, busy)
	}
}

// copy copies a disk and returns the copy's name, which no disk had before: the
// kernel may write to one for a moment after it is unmounted.
func (p *power) copy(from string) string {
	p.Helper()
	p.disks++
	to := fmt.Sprint(p.disks)
	in, err := os.Open(p.image(from))
	if err != nil {
		p.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(p.image(to))
	if err != nil {
		p.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		p.Fatal(err)
	}
	return to
}

// scrap removes a disk.
func (p *power) scrap(name string) {
	p.Helper()
	if err := os.Remove(p.image(name)); err != nil {
		p.Fatal(err)
	}
}

// writes is how much has been written to the mounted disk.
func (p *power) writes() string {
	p.Helper()
	var st unix.Stat_t
	if err := unix.Stat(p.point, &st); err != nil {
		p.Fatal(err)
	}
	text, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/stat", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil {
		p.Fatal(err)
	}
	// The 7th field counts the sectors written: Documentation/block/stat.rst.
	return strings.Fields(string(text))[6]
}

// copyAtRest copies the disk while nothing is written to it: a step may go on
// while Strata is stopped.
func (p *power) copyAtRest(from string) string {
	p.Helper()
	for range 100 {
		before := p.writes()
		to := p.copy(from)
		if p.writes() == before {
			return to
		}
		p.scrap(to)
	}
	p.Fatal("the disk does not come to rest")
	return ""
}

// cut begins a command on the whole disk and takes the power away when strata
// is stopped, which it is by a fault or after a time. It returns what is then
// left of the disk, nothing where the command ends before.
func (p *power) cut(sc scenario, env []string, after time.Duration, early bool) (left string) {
	p.Helper()
	used := p.copy("whole")
	p.mount(used)
	defer p.scrap(used)
	p.env = nil
	sc.prepare(p.site)
	p.sync()
	cmd := p.command(p.Context(), append(p.settings(sc), env...), sc.args...)
	if err := cmd.Start(); err != nil {
		p.Fatal(err)
	}
	if after > 0 {
		timer := time.AfterFunc(after, func() { _ = cmd.Process.Signal(syscall.SIGSTOP) })
		defer timer.Stop()
	}
	if p.stopped(cmd.Process.Pid) {
		if early {
			p.writeRecords()
		}
		left = p.copyAtRest(used)
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	}
	p.alone("without power")
	p.unmount()
	return left
}

// stopped waits until a child is stopped; false if it has ended.
func (p *power) stopped(pid int) bool {
	p.Helper()
	hanging := time.AfterFunc(patience, func() { _ = unix.Kill(pid, unix.SIGKILL) })
	defer hanging.Stop()
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &status, unix.WUNTRACED, nil)
		if err == nil {
			break
		}
		if err != unix.EINTR {
			p.Fatal(err)
		}
	}
	if status.Signaled() {
		p.Fatalf("strata ended by %v", status.Signal())
	}
	return status.Stopped()
}

// writeRecords does what the kernel may do at any time.
func (p *power) writeRecords() {
	p.Helper()
	for _, name := range []string{"records.db-wal", "records.db"} {
		f, err := os.OpenFile(filepath.Join(p.home, name), os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			p.Fatal(err)
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			p.Fatal(err)
		}
	}
}

func (p *power) sync() {
	p.Helper()
	f, err := os.Open(p.point)
	if err != nil {
		p.Fatal(err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		p.Fatal(err)
	}
}

// TestLossOfPower takes the power away at each place, and at random moments.
func TestLossOfPower(t *testing.T) {
	for _, sc := range scenarios() {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			p := newPower(t)
			p.mount("whole")
			names := p.places(sc)
			p.unmount()
			p.scrap("whole")
			p.make("whole")
			for n, name := range names {
				left := p.cut(sc, []string{fault.At(fault.Stop, n+1)}, 0, n%2 == 0)
				p.survive(sc, left, fmt.Sprintf("%s, loss of power at place %d of %d, about %s", sc.name, n+1, len(names), name))
			}
			random := rand.New(rand.NewPCG(startingSeed(t), 0))
			for range *crashes / 20 {
				after := time.Duration(1 + random.Int64N(int64(100*time.Millisecond)))
				p.survive(sc, p.cut(sc, nil, after, random.IntN(2) == 0), fmt.Sprintf("%s, loss of power after %v", sc.name, after))
			}
		})
	}
}

// survive starts the machine again with what is left of the disk.
func (p *power) survive(sc scenario, left, after string) {
	p.Helper()
	if left == "" {
		return
	}
	survived.losses.Add(1)
	p.boots++
	p.env = []string{fmt.Sprintf("%s=boot-%d", fault.BootVariable, p.boots)}
	p.mount(left)
	defer p.scrap(left)
	p.again(sc.pipeline, after)
	p.whole(after)
	p.unmount()
}
