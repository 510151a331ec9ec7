//go:build linux

package container

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/strata-ci/strata/internal/filetree"
)

// hostImage is the image "host": the machine's system directories, read-only
// below everything else. What is not among them (home directories, mounted
// disks, sockets in /run) does not exist for a step.
type hostImage struct {
	base  string     // a directory with what is not the machine's own, and whiteouts for what is hidden
	trees []hostTree // in the order in which they are to be mounted
	// hidden are the paths that are taken out, fresh those that start empty: what
	// to do without overlays.
	hidden, fresh []string
	// unstackable is why base cannot be an overlay's layer, nil if it can.
	unstackable error
}

// lowers returns the machine's directories of all trees.
func (i *hostImage) lowers() []string {
	dirs := make([]string, len(i.trees))
	for n, t := range i.trees {
		dirs[n] = t.lower
	}
	return dirs
}

// inTree reports whether a path is one of the machine's.
func (i *hostImage) inTree(at string) bool {
	return slices.ContainsFunc(i.trees, func(t hostTree) bool { return below(at, t.at) })
}

// hostTree is a directory of the machine that becomes an overlay's lowest layer.
type hostTree struct {
	at    string // relative to the root, as overlays name it
	lower string
}

// systemDirs are the top-level names of the Filesystem Hierarchy Standard 3.0
// that hold programs and their data, and those of Nix and Snap.
var systemDirs = []string{
	"bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "opt", "var", "srv", "nix", "snap",
}

// ownDirs exist in every root, empty at first.
var ownDirs = map[string]fs.FileMode{
	"dev": 0o755, "proc": 0o555, "sys": 0o555, "run": 0o755, "home": 0o755, "mnt": 0o755,
	"root": 0o700, "tmp": 0o777 | fs.ModeSticky, "workspace": 0o755,
}

// guardedDirs are looked through for entries that the machine keeps from other
// users: those are hidden, since a step that runs as root by number could read
// them.
var guardedDirs = []string{"etc", "etc/ssh", "etc/ssl", "var", "var/lib", "var/log", "var/spool", "var/cache", "opt", "srv"}

// hiddenPaths are hidden wherever they exist: other engines' state and sockets,
// and the machine's own temporary files.
var hiddenPaths = []string{"var/lib/docker", "var/lib/containerd", "var/lib/containers", "var/lib/kubelet", "var/mail"}

// maxCopied bounds a file that has to be copied into the base.
const maxCopied = 1 << 20

// openHostImage describes the machine and writes the base into the runner's
// state, where an equal one is used again. The state and the paths in private
// are hidden with all below them.
func openHostImage(state string, private []string) (*hostImage, error) {
	dir := filepath.Join(state, "host")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	state, err := filepath.EvalSymlinks(state)
	if err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp(dir, "tmp-")
	if err != nil {
		return nil, err
	}
	b := &imageBuilder{base: tmp, sum: sha256.New().Sum(nil)}
	if err := b.build(state, append([]string{state}, private...)); err != nil {
		return nil, errors.Join(err, filetree.Remove(tmp))
	}
	final := filepath.Join(dir, hex.EncodeToString(b.sum))
	err = os.Rename(tmp, final)
	if err != nil { // an equal one is there
		if _, statErr := os.Stat(final); statErr != nil {
			return nil, errors.Join(err, filetree.Remove(tmp))
		}
		if err := filetree.Remove(tmp); err != nil {
			return nil, err
		}
	}
	return &hostImage{base: final, trees: b.trees, hidden: b.hidden, fresh: b.fresh, unstackable: b.unstackable}, nil
}

type imageBuilder struct {
	base   string
	trees  []hostTree
	apart  []string // what no tree may have in it: mount points, and the runner's own state
	hidden []string // what was taken out
	fresh  []string // what was made to start empty
	sum    []byte   // digest of all that was done to the base

	unstackable error
}

func (b *imageBuilder) build(state string, private []string) error {
	infos, err := mountinfo.GetMounts(nil)
	if err != nil {
		return fmt.Errorf("read the machine's mounts: %w", err)
	}
	for _, m := range infos {
		b.apart = append(b.apart, m.Mountpoint)
	}
	b.apart = append(b.apart, state)
	if err := os.Chmod(b.base, 0o755); err != nil {
		return err
	}
	for name, mode := range ownDirs {
		if err := os.Mkdir(filepath.Join(b.base, name), 0o700); err != nil {
			return err
		}
		if err := os.Chmod(filepath.Join(b.base, name), mode); err != nil {
			return err
		}
	}
	for _, name := range systemDirs {
		if err := b.add(name); err != nil {
			return err
		}
	}
	if err := b.guard(private); err != nil {
		return err
	}
	if err := b.opaque("var/tmp"); err != nil {
		return err
	}
	return b.resolvConf()
}

// add puts one path of the machine into the image.
func (b *imageBuilder) add(at string) error {
	source := "/" + at
	info, err := os.Lstat(source)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() == fs.ModeSymlink:
		target, err := os.Readlink(source)
		if err != nil {
			return err
		}
		b.note("link", at, target)
		return os.Symlink(target, filepath.Join(b.base, at))
	case info.Mode().IsRegular():
		return b.copyFile(source, at, info)
	case !info.IsDir():
		return nil
	}
	if err := b.mkdir(at); err != nil {
		return err
	}
	if !b.mustSplit(source) {
		b.note("tree", at)
		b.trees = append(b.trees, hostTree{at: at, lower: source})
		return nil
	}
	// Overlayfs cannot take a directory with mounts in it as a lower layer in a
	// user namespace (they are locked: mount_namespaces(7)), nor one with the
	// upper layers in it (ELOOP), so its children go in one by one.
	entries, err := os.ReadDir(source)
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := b.add(filepath.Join(at, e.Name())); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}

func (b *imageBuilder) mustSplit(dir string) bool {
	return slices.ContainsFunc(b.apart, func(m string) bool { return strings.HasPrefix(m, dir+"/") })
}

// guard hides what a step has no business to see.
func (b *imageBuilder) guard(private []string) error {
	hidden := slices.Clone(hiddenPaths)
	for _, p := range private {
		hidden = append(hidden, strings.TrimPrefix(p, "/"))
		if real, err := filepath.EvalSymlinks(p); err == nil {
			hidden = append(hidden, strings.TrimPrefix(real, "/"))
		}
	}
	for _, dir := range guardedDirs {
		entries, err := os.ReadDir("/" + dir)
		if err != nil {
			continue // not there, or closed to this user and so to the step
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil || info.Mode().Type() == fs.ModeSymlink {
				continue
			}
			if info.Mode().Perm()&0o004 == 0 {
				hidden = append(hidden, filepath.Join(dir, e.Name()))
			}
		}
	}
	slices.Sort(hidden)
	for _, at := range slices.Compact(hidden) {
		if err := b.hide(at); err != nil {
			return fmt.Errorf("hide /%s from steps: %w", at, err)
		}
	}
	return nil
}

// hide takes a path out of the image, with all below it.
func (b *imageBuilder) hide(at string) error {
	if slices.ContainsFunc(b.hidden, func(h string) bool { return strings.HasPrefix(at, h+"/") }) {
		return nil
	}
	b.hidden = append(b.hidden, at)
	b.trees = slices.DeleteFunc(b.trees, func(t hostTree) bool { return t.at == at || strings.HasPrefix(t.at, at+"/") })
	dst := filepath.Join(b.base, at)
	if err := filetree.Remove(dst); err != nil {
		return err
	}
	if _, err := os.Lstat("/" + at); err != nil || !b.shown(at) {
		return nil // there is nothing below that would show
	}
	if err := b.mkdir(filepath.Dir(at)); err != nil {
		return err
	}
	b.note("hide", at)
	b.tell(unix.Mknod(dst, unix.S_IFCHR, 0))
	return nil
}

// shown reports whether the machine's own directory shows the path.
func (b *imageBuilder) shown(at string) bool {
	return slices.ContainsFunc(b.trees, func(t hostTree) bool { return strings.HasPrefix(at, t.at+"/") })
}

// opaque makes a directory that exists on the machine start empty.
func (b *imageBuilder) opaque(at string) error {
	if info, err := os.Stat("/" + at); err != nil || !info.IsDir() {
		return nil
	}
	b.trees = slices.DeleteFunc(b.trees, func(t hostTree) bool { return t.at == at || strings.HasPrefix(t.at, at+"/") })
	if err := b.mkdir(at); err != nil {
		return err
	}
	b.note("opaque", at)
	b.fresh = append(b.fresh, at)
	b.tell(unix.Lsetxattr(filepath.Join(b.base, at), "user.overlay.opaque", []byte("y"), 0))
	return os.Chmod(filepath.Join(b.base, at), 0o777|fs.ModeSticky)
}

// tell remembers that the base cannot be an overlay's layer.
func (b *imageBuilder) tell(err error) {
	if err != nil && b.unstackable == nil {
		b.unstackable = err
		b.note("unstackable")
	}
}

// mkdir makes a directory and those above it as the machine has them.
func (b *imageBuilder) mkdir(at string) error {
	if at == "." {
		return nil
	}
	if err := b.mkdir(filepath.Dir(at)); err != nil {
		return err
	}
	dst := filepath.Join(b.base, at)
	if err := os.Mkdir(dst, 0o755); errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		return err
	}
	info, err := os.Stat("/" + at)
	if err != nil {
		return err
	}
	b.note("dir", at, info.Mode().String())
	return errors.Join(os.Chmod(dst, info.Mode()), os.Chtimes(dst, time.Time{}, info.ModTime()))
}

func (b *imageBuilder) copyFile(source, at string, info fs.FileInfo) error {
	if info.Size() > maxCopied {
		return nil
	}
	data, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	b.note("file", at, string(data))
	if err := os.WriteFile(filepath.Join(b.base, at), data, info.Mode().Perm()); err != nil {
		return err
	}
	return os.Chtimes(filepath.Join(b.base, at), time.Time{}, info.ModTime())
}

// resolvConf keeps name resolution working where /etc/resolv.conf is a link
// into /run, which steps do not see.
func (b *imageBuilder) resolvConf() error {
	target, err := filepath.EvalSymlinks("/etc/resolv.conf")
	if err != nil || !strings.HasPrefix(target, "/run/") {
		return nil
	}
	info, err := os.Stat(target)
	if err != nil {
		return err
	}
	at := strings.TrimPrefix(target, "/")
	if err := os.MkdirAll(filepath.Join(b.base, filepath.Dir(at)), 0o755); err != nil {
		return err
	}
	return b.copyFile(target, at, info)
}

func (b *imageBuilder) note(words ...string) {
	sum := sha256.Sum256(append(b.sum, strings.Join(words, "\x00")...))
	b.sum = sum[:]
}
