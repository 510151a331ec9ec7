//go:build linux && faults

package crashtest

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// poor is a node of a file system that can do little: it has no hard links, no
// extended attributes, no reflinks, and its directories do not say what their
// names are. With refusal set it has no locks either.
type poor struct {
	fs.LoopbackNode
	refusal syscall.Errno
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
	data.NewNode = func(*fs.LoopbackRoot, *fs.Inode, string, *syscall.Stat_t) fs.InodeEmbedder {
		return &poor{fs.LoopbackNode{RootData: data}, refusal}
	}
	root := &poor{fs.LoopbackNode{RootData: data}, refusal}
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
	s := newSite(t)
	s.mountPoor(0)
	s.again("good", "a poor file system")
	s.again("good", "a poor file system")
	t.Log(s.run(nil, "run", "good"))
	t.Log(s.run(nil, "cache", "ls"))
	s.again("bad", "a poor file system")
	s.edit("c.txt")
	s.again("good", "a poor file system")
	s.whole("a poor file system")
}

// TestPoorFileSystemWithoutLocks is told of before anything runs.
func TestPoorFileSystemWithoutLocks(t *testing.T) {
	for _, refusal := range []syscall.Errno{syscall.ENOLCK, syscall.EOPNOTSUPP, syscall.ENOSYS} {
		s := newSite(t)
		s.mountPoor(refusal)
		for _, args := range [][]string{runArgs("good"), {"run", "good", "--dry-run"}, {"runs"}, {"why", "a"}, {"cache", "ls"}, {"doctor", "--repair"}} {
			t.Log(s.run(nil, args...))
		}
	}
}
