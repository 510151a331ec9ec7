//go:build linux

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// world is what a cell prepares once for all its commands.
type world struct {
	home    int                     // descriptor of the cell's own mount namespace
	newRoot string                  // where a command's root is put together
	keptDir string                  // where kept overlays are mounted, by name
	kept    map[string]keptMount    // by name
	dev     string                  // a /dev to clone
	proc    string                  // a /proc to clone
	sys     string                  // a /sys to clone, empty where the machine has none
	filter  [2][]bpf.RawInstruction // of ordinary and of nested commands

	users, groups []syscall.SysProcIDMap // of the cell's user namespace
	setgroups     bool                   // the namespace allows setgroups

	// The running command was asked, or is, to end.
	terminating, killing atomic.Bool
}

// devices are those of the OCI runtime specification's Linux default list,
// bound from the machine: a user namespace cannot make device nodes.
var devices = []string{"null", "zero", "full", "random", "urandom", "tty"}

var devLinks = map[string]string{
	"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
	"ptmx": "pts/ptmx", "core": "/proc/kcore",
}

// prepare makes the cell's own mounts, below scratch.
func prepare(scratch string) (*world, error) {
	// Other threads of this process, and so all commands, are to see what is
	// mounted here; the machine is not.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, asError(StageMount, "make mounts private", err)
	}
	if err := unix.Mount("tmpfs", scratch, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=1m"); err != nil {
		return nil, asError(StageMount, "mount a tmpfs on "+scratch, err)
	}
	w := &world{
		newRoot: filepath.Join(scratch, "root"), dev: filepath.Join(scratch, "dev"), proc: filepath.Join(scratch, "proc"),
		keptDir: filepath.Join(scratch, "kept"), kept: map[string]keptMount{},
	}
	for _, dir := range []string{w.newRoot, w.dev, w.proc, w.keptDir} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, asError(StageMount, "prepare "+scratch, err)
		}
	}
	if err := prepareDev(w.dev); err != nil {
		return nil, err
	}
	if err := unix.Mount("proc", w.proc, "proc", restricted, ""); err != nil {
		return nil, asError(StageMount, "mount /proc", err)
	}
	if err := w.maskProc(); err != nil {
		return nil, err
	}
	if _, err := os.Stat("/sys/kernel"); err == nil {
		w.sys = filepath.Join(scratch, "sys")
		if err := os.Mkdir(w.sys, 0o755); err != nil {
			return nil, asError(StageMount, "prepare "+scratch, err)
		}
		if err := bindReadOnly("/sys", w.sys); err != nil {
			return nil, err
		}
	}
	var err error
	if w.home, err = unix.Open("/proc/self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return nil, asError(StageMount, "open the mount namespace", err)
	}
	for i, nested := range []bool{false, true} {
		if w.filter[i], err = filterFor(nested); err != nil {
			return nil, asError(StageLimit, "assemble the system call filter", err)
		}
	}
	if w.users, w.groups, w.setgroups, err = idMaps(); err != nil {
		return nil, asError(StageLimit, "read which users exist here", err)
	}
	// Commands must not trace this process or read its files through /proc.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return nil, asError(StageLimit, "protect the supervising process", err)
	}
	return w, nil
}

func prepareDev(dev string) error {
	if err := unix.Mount("tmpfs", dev, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=0755,size=64k"); err != nil {
		return asError(StageMount, "mount /dev", err)
	}
	for _, name := range devices {
		p := filepath.Join(dev, name)
		if err := os.WriteFile(p, nil, 0o666); err != nil {
			return asError(StageMount, "make /dev/"+name, err)
		}
		if err := unix.Mount("/dev/"+name, p, "", unix.MS_BIND, ""); err != nil {
			return asError(StageMount, "bind /dev/"+name, err)
		}
	}
	for name, target := range devLinks {
		if err := os.Symlink(target, filepath.Join(dev, name)); err != nil {
			return asError(StageMount, "make /dev/"+name, err)
		}
	}
	for _, name := range []string{"pts", "shm", "mqueue"} {
		if err := os.Mkdir(filepath.Join(dev, name), 0o755); err != nil {
			return asError(StageMount, "make /dev/"+name, err)
		}
	}
	// The tree is shared by all commands of the cell, so none may write to it.
	if err := unix.MountSetattr(unix.AT_FDCWD, dev, 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		return asError(StageMount, "make /dev read-only", err)
	}
	return nil
}

const restricted = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

func bindReadOnly(source, target string) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return asError(StageMount, "bind "+source, err)
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(unix.AT_FDCWD, target, unix.AT_RECURSIVE, &attr); err != nil {
		return asError(StageMount, "make "+target+" read-only", err)
	}
	return nil
}

// procMasks are parts of /proc that change or tell things of the machine. A
// command of root is root by number, which is all that some of them ask for.
// The list is that of the OCI default spec of containerd and Docker
// (masked and read-only paths).
var (
	procHidden   = []string{"acpi", "kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug", "scsi", "interrupts"}
	procReadOnly = []string{"asound", "bus", "fs", "irq", "sys", "sysrq-trigger"}
)

// buildRoot mounts the command's world in the thread's own mount namespace and
// moves the thread into it.
func (w *world) buildRoot(spec Spec) error {
	root := -1
	for i, m := range spec.Mounts {
		if i == 0 {
			if err := w.mountRoot(m, spec.Base); err != nil {
				return err
			}
			var err error
			if root, err = unix.Open(w.newRoot, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
				return asError(StageMount, "open the new root", err)
			}
			defer unix.Close(root)
			continue
		}
		if m.Keep != "" {
			if err := cloneAt(filepath.Join(w.keptDir, m.Keep), root, m.Target); err != nil {
				return err
			}
			continue
		}
		if m.Hide {
			if err := w.hide(root, m.Target); err != nil {
				return err
			}
			continue
		}
		if err := at(root, m.Target, func(target string) error { return mountOne(m, target, spec.Base) }); err != nil {
			return err
		}
	}
	if err := w.mountSystem(root, spec); err != nil {
		return err
	}
	if err := unix.Fchdir(root); err != nil {
		return asError(StageMount, "enter the new root", err)
	}
	// Stacking the old root on the new one and detaching it needs no directory
	// for it: pivot_root(2), NOTES.
	if err := unix.PivotRoot(".", "."); err != nil {
		return asError(StageMount, "change the root", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return asError(StageMount, "detach the machine's root", err)
	}
	return nil
}

// mountRoot mounts the root itself.
func (w *world) mountRoot(m Mount, base string) error {
	if m.Keep != "" {
		return clone(filepath.Join(w.keptDir, m.Keep), w.newRoot)
	}
	return mountOne(m, w.newRoot, base)
}

// mountSystem mounts /proc, /dev and /sys.
func (w *world) mountSystem(root int, spec Spec) error {
	mount := func(target, fstype string, flags uintptr, options string) error {
		return at(root, target, func(p string) error {
			if err := unix.Mount(fstype, p, fstype, flags, options); err != nil {
				return asError(StageMount, "mount /"+target, err)
			}
			return nil
		})
	}
	if spec.Nested {
		// A namespace inside may mount /proc only where nothing of it is covered.
		if err := mount("proc", "proc", restricted, ""); err != nil {
			return err
		}
	} else if err := cloneAt(w.proc, root, "proc"); err != nil {
		return err
	}
	if err := cloneAt(w.dev, root, "dev"); err != nil {
		return err
	}
	if err := mount("dev/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"); err != nil {
		return err
	}
	if err := mount("dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
		return err
	}
	if w.sys == "" {
		return nil
	}
	return cloneAt(w.sys, root, "sys")
}

func (w *world) maskProc() error {
	for _, name := range procReadOnly {
		p := filepath.Join(w.proc, name)
		if _, err := os.Stat(p); err != nil {
			continue // this kernel has no such file
		}
		if err := bindReadOnly(p, p); err != nil {
			return err
		}
	}
	for _, name := range procHidden {
		p := filepath.Join(w.proc, name)
		info, err := os.Stat(p)
		if err != nil {
			continue // as above
		}
		if err := unix.Mount(w.nothing(info.IsDir()), p, "", unix.MS_BIND, ""); err != nil {
			return asError(StageMount, "hide /proc/"+name, err)
		}
	}
	return nil
}

// nothing returns what covers a directory or a file that is to be hidden.
func (w *world) nothing(dir bool) string {
	if dir {
		return filepath.Join(w.dev, "mqueue") // an empty directory on a read-only mount
	}
	return filepath.Join(w.dev, "null")
}

// hide covers a path of the new root.
func (w *world) hide(root int, target string) error {
	err := at(root, target, func(p string) error {
		info, err := os.Stat(p)
		if err != nil {
			return asError(StageMount, "hide /"+target, err)
		}
		if err := unix.Mount(w.nothing(info.IsDir()), p, "", unix.MS_BIND, ""); err != nil {
			return asError(StageMount, "hide /"+target, err)
		}
		return nil
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	return err
}

// clone mounts a copy of a mounted tree, with the mounts in it.
func clone(source, target string) error {
	tree, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return asError(StageMount, "clone "+source, err)
	}
	defer unix.Close(tree)
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS); err != nil {
		return asError(StageMount, "mount a clone of "+source, err)
	}
	return nil
}

// cloneAt mounts a copy of a prepared tree below the root.
func cloneAt(source string, root int, target string) error {
	return at(root, target, func(p string) error { return clone(source, p) })
}

// at opens a path below the root without following symbolic links, which a
// layer from elsewhere might hold, and calls mount with a name for it.
func at(root int, path string, mount func(target string) error) error {
	fd, err := unix.Openat2(root, path, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return asError(StageMount, "open the mount point /"+path, err)
	}
	defer unix.Close(fd)
	return mount(fmt.Sprintf("/proc/self/fd/%d", fd))
}

// mountOne mounts m; the working directory must be base, if that is set.
func mountOne(m Mount, target, base string) error {
	if len(m.Lowers) == 0 {
		return bindOne(m, target)
	}
	// userxattr also turns off redirects, which would tie a layer to those below it.
	options := "userxattr,index=off,metacopy=off,xino=off"
	if m.Upper != "" {
		// A layer is synced when it is kept, by who keeps it, so that the
		// command's own syncing can be left out.
		options += ",volatile,upperdir=" + escape(m.Upper, base) + ",workdir=" + escape(m.Work, base)
	}
	lowers := make([]string, len(m.Lowers))
	for i, l := range m.Lowers {
		lowers[i] = escape(l, base)
	}
	options += ",lowerdir=" + strings.Join(lowers, ":")
	if len(options) >= os.Getpagesize() {
		return &Error{Stage: StageMount, Detail: fmt.Sprintf("mount /%s: the names of its %d layers do not fit into one page", m.Target, len(lowers))}
	}
	if err := unix.Mount("overlay", target, "overlay", unix.MS_NODEV, options); err != nil {
		return asError(StageMount, fmt.Sprintf("mount /%s over %s", m.Target, strings.Join(m.Lowers, ", ")), err)
	}
	return nil
}

func bindOne(m Mount, target string) error {
	tree, err := unix.OpenTree(unix.AT_FDCWD, m.Source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return asError(StageMount, "bind "+m.Source, err)
	}
	defer unix.Close(tree)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if m.ReadOnly {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		return asError(StageMount, "bind "+m.Source, err)
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS); err != nil {
		return asError(StageMount, "bind "+m.Source+" on /"+m.Target, err)
	}
	return nil
}

// escape protects what overlayfs's options give a meaning to, and shortens
// what lies in base.
func escape(path, base string) string {
	if base != "" {
		path = strings.TrimPrefix(path, base+"/")
	}
	return strings.NewReplacer(`\`, `\\`, `,`, `\,`, `:`, `\:`).Replace(path)
}

// leave moves the thread out of the command's namespaces. With the last
// process gone, that ends them and their mounts before it returns.
func (w *world) leave() error {
	if err := unix.Setns(w.home, unix.CLONE_NEWNS); err != nil {
		return asError(StageMount, "leave the sandbox", err)
	}
	return nil
}
