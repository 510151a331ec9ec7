//go:build linux

package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// hostImage is the image "host": the machine's system directories, read-only
// below everything else. What is not among them (home directories, mounted
// disks, sockets in /run) does not exist for a step.
type hostImage struct {
	*base            // what is not the machine's own, and whiteouts for what is hidden
	trees []hostTree // in the order in which they are to be mounted
	// hidden are the paths that are taken out, fresh those that start empty: what
	// to do without overlays.
	hidden, fresh []string
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
// state, unless an equal one is there. The state and the paths in private are
// hidden with all below them.
func openHostImage(state string, private []string) (*hostImage, error) {
	dir := filepath.Join(state, "host")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	state, err := filepath.EvalSymlinks(state)
	if err != nil {
		return nil, err
	}
	b := &imageBuilder{base: skeleton{}}
	if err := b.build(state, append([]string{state}, private...)); err != nil {
		return nil, err
	}
	base, err := b.base.open(dir)
	if err != nil {
		return nil, err
	}
	return &hostImage{base: base, trees: b.trees, hidden: b.hidden, fresh: b.fresh}, nil
}

type imageBuilder struct {
	base   skeleton
	trees  []hostTree
	apart  []string // what no tree may have in it: mount points, and the runner's own state
	hidden []string // what was taken out
	fresh  []string // what was made to start empty
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
	for name, mode := range ownDirs {
		b.base[name] = node{mode: fs.ModeDir | mode}
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
		b.base[at] = node{mode: fs.ModeSymlink, data: target}
		return nil
	case info.Mode().IsRegular():
		return b.copyFile(source, at, info)
	case !info.IsDir():
		return nil
	}
	if err := b.mkdir(at); err != nil {
		return err
	}
	if !b.mustSplit(source) {
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
	b.trees = slices.DeleteFunc(b.trees, func(t hostTree) bool { return below(t.at, at) })
	b.base.remove(at)
	if _, err := os.Lstat("/" + at); err != nil || !b.shown(at) {
		return nil // there is nothing below that would show
	}
	b.base[at] = node{mode: whiteout}
	return b.mkdir(filepath.Dir(at))
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
	b.trees = slices.DeleteFunc(b.trees, func(t hostTree) bool { return below(t.at, at) })
	b.base.remove(at)
	b.base[at] = node{mode: fs.ModeDir | fs.ModeSticky | 0o777, opaque: true}
	b.fresh = append(b.fresh, at)
	return b.mkdir(filepath.Dir(at))
}

// mkdir makes a directory and those above it as the machine has them.
func (b *imageBuilder) mkdir(at string) error {
	if _, ok := b.base[at]; ok || at == "." {
		return nil
	}
	info, err := os.Stat("/" + at)
	if err != nil {
		return err
	}
	b.base[at] = node{mode: info.Mode(), time: info.ModTime()}
	return b.mkdir(filepath.Dir(at))
}

func (b *imageBuilder) copyFile(source, at string, info fs.FileInfo) error {
	if info.Size() > maxCopied {
		return nil
	}
	data, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	b.base[at] = node{mode: info.Mode().Perm(), data: string(data), time: info.ModTime()}
	return nil
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
	for dir := filepath.Dir(at); dir != "."; dir = filepath.Dir(dir) {
		if _, ok := b.base[dir]; !ok {
			b.base[dir] = node{mode: fs.ModeDir | 0o755}
		}
	}
	return b.copyFile(target, at, info)
}
