//go:build linux

package snapshottest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/internal/filetree"
)

// Op is one change of a tree.
type Op struct {
	Do   string // one of the constants below
	Path string // relative to the root
	To   string // of Rename and Link: the new path; of Write: the contents; of Symlink: the target; of Attribute: the value
	Mode uint32 // of Chmod
}

// What an Op can do.
const (
	Write     = "write" // a new file in place of what is there
	Append    = "append"
	Mkdir     = "mkdir"
	Remove    = "remove" // a file or an empty directory
	RemoveAll = "remove all"
	Rename    = "rename" // as mv does it, which copies where it has to
	Symlink   = "symlink"
	Link      = "link"
	Chmod     = "chmod"
	Attribute = "attribute" // sets user.test
	Touch     = "touch"     // sets the time to Past
)

// Past is the time that Touch sets. No file that a test makes is as old.
var Past = time.Unix(946684800, 123456789)

// apply does op in the tree at root.
func apply(root string, op Op) error {
	p := filepath.Join(root, op.Path)
	switch op.Do {
	case Write:
		tmp := filepath.Join(filepath.Dir(p), ".new")
		if err := os.WriteFile(tmp, []byte(op.To), 0o644); err != nil {
			return err
		}
		if err := os.Rename(tmp, p); err != nil {
			return errors.Join(err, os.Remove(tmp))
		}
		return nil
	case Append:
		if err := own(p); err != nil {
			return err
		}
		f, err := os.OpenFile(p, os.O_WRONLY|os.O_APPEND|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteString(op.To)
		return errors.Join(err, f.Close())
	case Mkdir:
		return os.Mkdir(p, 0o755)
	case Remove:
		return os.Remove(p)
	case RemoveAll:
		return os.RemoveAll(p)
	case Rename:
		if err := own(p); err != nil {
			return err
		}
		return move(p, filepath.Join(root, op.To))
	case Symlink:
		return os.Symlink(op.To, p)
	case Link:
		return os.Link(p, filepath.Join(root, op.To))
	case Chmod:
		if info, err := os.Lstat(p); err == nil && info.Mode().Type() == fs.ModeSymlink {
			return unix.ELOOP
		}
		if err := own(p); err != nil {
			return err
		}
		return unix.Chmod(p, op.Mode)
	case Attribute:
		if err := own(p); err != nil {
			return err
		}
		return unix.Lsetxattr(p, "user.test", []byte(op.To), 0)
	case Touch:
		if err := own(p); err != nil {
			return err
		}
		t, err := unix.TimeToTimespec(Past)
		if err != nil {
			return err
		}
		return unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
	}
	return fmt.Errorf("unknown operation %q", op.Do)
}

// own makes a file with other names one of its own. Overlayfs without an index
// does so by itself, if the file comes from below: no two names of it are to be
// relied on to change together in a later layer.
func own(p string) error {
	var st, dir unix.Stat_t
	if err := errors.Join(unix.Lstat(p, &st), unix.Stat(filepath.Dir(p), &dir)); err != nil || st.Mode&unix.S_IFMT == unix.S_IFDIR || st.Nlink < 2 {
		return err
	}
	info, err := os.Lstat(p)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(p), ".own")
	if err != nil {
		return err
	}
	err = filetree.NewCopier(context.Background(), filepath.Dir(p), tmp, nil).Entry(filepath.Base(p), info)
	if err == nil {
		err = os.Rename(filepath.Join(tmp, filepath.Base(p)), p)
	}
	return errors.Join(err, os.RemoveAll(tmp), unix.UtimesNano(filepath.Dir(p), []unix.Timespec{dir.Atim, dir.Mtim}))
}

// move is mv: a directory that cannot be renamed (EXDEV) is copied.
func move(from, to string) error {
	err := unix.Rename(from, to)
	if !errors.Is(err, unix.EXDEV) {
		return err
	}
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	if err := filetree.Copy(context.Background(), from, to, nil); err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("rename %s: it is no directory and cannot be renamed", from)
	}
	return filetree.Remove(from)
}

// class names what an error is, so that those of two trees can be compared.
func class(err error) string {
	var errno unix.Errno
	switch {
	case err == nil:
		return ""
	case errors.As(err, &errno):
		return errno.Error()
	}
	return err.Error()
}

// Node is what a tree shows at a path.
type Node struct {
	Mode      uint32 // type and permissions
	Data      string // contents of a file, target of a symlink
	Attribute string // user.test
	Links     uint64 // of a file: how many paths of the tree are this file
	Past      bool   // its time is Past
}

// Tree is what a directory shows, by path.
type Tree map[string]Node

// dump reads the tree at root.
func dump(root string) (Tree, error) {
	tree := Tree{}
	links := map[uint64][]string{}
	err := filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return &os.PathError{Op: "lstat", Path: p, Err: err}
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		n := Node{Mode: st.Mode, Past: time.Unix(st.Mtim.Unix()).Equal(Past)}
		value := make([]byte, 100)
		if size, err := unix.Lgetxattr(p, "user.test", value); err == nil {
			n.Attribute = string(value[:size])
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			links[st.Ino] = append(links[st.Ino], rel)
			data, err := os.ReadFile(p)
			n.Data = string(data)
			if err != nil {
				return err
			}
		case unix.S_IFLNK:
			if n.Data, err = os.Readlink(p); err != nil {
				return err
			}
		}
		tree[rel] = n
		return nil
	})
	for _, paths := range links {
		for _, p := range paths {
			n := tree[p]
			n.Links = uint64(len(paths))
			tree[p] = n
		}
	}
	return tree, err
}
