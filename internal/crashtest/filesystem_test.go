//go:build linux && faults

package crashtest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// poor is a node of a file system that can do little: it has no hard links, no
// extended attributes, no reflinks, and its directories do not say what their
// names are. With refusal set it has no locks either.
type poor struct {
	*fs.LoopbackNode
	refusal syscall.Errno
}

// WrapChild makes all nodes below poor, too.
func (n *poor) WrapChild(_ context.Context, child fs.InodeEmbedder) fs.InodeEmbedder {
	return &poor{child.(*fs.LoopbackNode), n.refusal}
}

func (n *poor) Link(context.Context, fs.InodeEmbedder, string, *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return nil, syscall.EPERM // as link(2) says of such a file system
}

func (n *poor) Getxattr(context.Context, string, []byte) (uint32, syscall.Errno) {
	return 0, syscall.ENOTSUP
}

func (n *poor) Setxattr(context.Context, string, []byte, uint32) syscall.Errno {
	return syscall.ENOTSUP
}

func (n *poor) Listxattr(context.Context, []byte) (uint32, syscall.Errno) {
	return 0, syscall.ENOTSUP
}

func (n *poor) CopyFileRange(context.Context, fs.FileHandle, uint64, *fs.Inode, fs.FileHandle, uint64, uint64, uint64) (uint32, syscall.Errno) {
	return 0, syscall.ENOTSUP
}

func (n *poor) Getlk(context.Context, fs.FileHandle, uint64, *fuse.FileLock, uint32, *fuse.FileLock) syscall.Errno {
	return n.refusal
}

func (n *poor) Setlk(context.Context, fs.FileHandle, uint64, *fuse.FileLock, uint32) syscall.Errno {
	return n.refusal
}

func (n *poor) Setlkw(context.Context, fs.FileHandle, uint64, *fuse.FileLock, uint32) syscall.Errno {
	return n.refusal
}

func (n *poor) OpendirHandle(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	f, open, errno := n.LoopbackNode.OpendirHandle(ctx, flags)
	if errno != 0 {
		return nil, 0, errno
	}
	return poorDirectory{f.(directory)}, open, 0
}

// directory is what the file system below has open.
type directory interface {
	fs.FileReaddirenter
	fs.FileFsyncdirer
	fs.FileSeekdirer
	fs.FileReleasedirer
}

// poorDirectory is an open directory that does not say what its names are, and
// cannot be synced.
type poorDirectory struct{ directory }

func (d poorDirectory) Readdirent(ctx context.Context) (*fuse.DirEntry, syscall.Errno) {
	e, errno := d.directory.Readdirent(ctx)
	if e != nil {
		e.Mode = 0
	}
	return e, errno
}

func (d poorDirectory) Fsyncdir(context.Context, uint32) syscall.Errno { return syscall.EINVAL }

// mountPoor mounts a poor file system in a directory of the site's, and moves
// the site's state there.
func (s *site) mountPoor(refusal syscall.Errno) {
	s.Helper()
	under, at := filepath.Join(filepath.Dir(s.project), "under"), filepath.Join(filepath.Dir(s.project), "poor")
	for _, dir := range []string{under, at} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			s.Fatal(err)
		}
	}
	data := &fs.LoopbackRoot{Path: under}
	root := &poor{&fs.LoopbackNode{RootData: data}, refusal}
	data.RootNode = root
	server, err := fs.Mount(at, root, &fs.Options{MountOptions: fuse.MountOptions{
		FsName: "poor", DirectMountStrict: true, AllowOther: true, EnableLocks: refusal != 0, DisableReadDirPlus: true,
	}})
	if err != nil {
		s.Fatalf("mount a FUSE file system, which needs root and /dev/fuse: %v", err)
	}
	s.Cleanup(func() {
		_ = syscall.Unmount(at, syscall.MNT_DETACH) // the server ends with it
		server.Wait()
	})
	s.home = filepath.Join(at, "state")
}

// TestPoorFileSystem has all commands work where files can only be copied.
func TestPoorFileSystem(t *testing.T) {
	const after = "a poor file system"
	s := newSite(t)
	s.mountPoor(0)
	s.again("good", after)
	s.again("good", after)
	if o := s.run(nil, "run", "good"); strings.Count(o.stderr, ": cached: ") != 5 || strings.Count(o.stderr, "note: ") != 1 {
		t.Errorf("not all earlier results are used, or not one note tells of the copies: %v", o)
	}
	s.again("bad", after)
	s.edit("c.txt")
	s.again("good", after)
	if o := s.run(nil, "why", "left"); !strings.Contains(o.stdout, "the input c.txt changed") {
		t.Errorf("it does not say why: %v", o)
	}
	s.whole(after)
	if o := s.run(nil, "cache", "prune"); o.code != 0 || !strings.Contains(o.stderr, "removed 8 results") {
		t.Errorf("not all results can be removed: %v", o)
	}
	s.again("good", after)
}

// TestPoorFileSystemWithoutLocks has a file system that has no locks of either
// kind. Each command says so, and what to do, before it does anything else.
func TestPoorFileSystemWithoutLocks(t *testing.T) {
	for _, refusal := range []syscall.Errno{syscall.ENOLCK, syscall.EOPNOTSUPP, syscall.ENOSYS} {
		s := newSite(t)
		s.mountPoor(refusal)
		for _, args := range [][]string{runArgs("good"), {"runs"}, {"why", "a"}, {"cache", "ls"}, {"cache", "prune", "--all"}, {"doctor", "--repair"}} {
			s.run(nil, args...).told(t, s.home, "no locks", "STRATA_HOME to a directory on a local disk")
		}
	}
}
