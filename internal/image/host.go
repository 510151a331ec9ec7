// Package image knows images: what a step's file system starts from. For now
// that is one, this machine itself; pulling others comes later.
//
// In: the machine's package database and the directories that people install
// tools into. Out: named parts, each of which changes when the machine does.
// It never writes to the machine, and never runs a program of it.
package image

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Digests remembers digests of files between processes, so that a large file is
// read again only when its stamp, which is made of its stat, has changed.
type Digests interface {
	// Get returns what Put was given last for the path, if that was with the
	// same stamp, and nil otherwise.
	Get(ctx context.Context, path string, stamp []byte) (digest []byte, err error)
	// Put remembers a digest, or does nothing where nothing may be written.
	Put(ctx context.Context, path string, stamp, digest []byte) error
}

// Host tells one state of this machine from another, as far as steps can see:
//
//	system    the distribution and its version
//	packages  a digest of the databases of what package managers installed
//	/a/dir    for each directory that people install tools into by hand, and
//	          each of the paths in extra, a digest of its listing
//
// What does not exist has no part. Of the tools only names, modes, sizes, times
// of modification and targets of links are looked at: to read gigabytes for
// each run would cost more than the runs, and whatever installs a tool changes
// one of these. The kernel is none of it, nor is configuration in /etc that no
// package manager knows of. digests may be nil: then everything is read.
func Host(ctx context.Context, digests Digests, extra []string) (map[string]string, error) {
	parts := map[string]string{}
	var err error
	if parts["system"], err = systemVersion(); err != nil {
		return nil, fmt.Errorf("find out which system this is: %w", err)
	}
	if parts["packages"], err = packages(ctx, digests); err != nil {
		return nil, fmt.Errorf("find out which packages are installed: %w", err)
	}
	dirs := toolDirs()
	for _, dir := range extra {
		dirs = append(dirs, listing{dir, 1})
	}
	seen := map[string]string{} // by real path: /bin is often /usr/bin
	for _, l := range dirs {
		if _, ok := parts[l.dir]; ok {
			continue
		}
		if parts[l.dir], err = l.digest(seen); err != nil {
			return nil, fmt.Errorf("look at the tools in %s: %w", l.dir, err)
		}
	}
	maps.DeleteFunc(parts, func(_, value string) bool { return value == "" })
	return parts, ctx.Err()
}

// packages returns a digest of all package databases, empty if there are none.
func packages(ctx context.Context, digests Digests) (string, error) {
	h := sha256.New()
	found := false
	for _, path := range packageFiles() {
		digest, err := fileDigest(ctx, digests, path, time.Now())
		if absent(err) {
			continue
		}
		if err != nil {
			return "", err
		}
		h.Write(append(field(path), digest...))
		found = true
	}
	for _, l := range packageDirs() {
		digest, err := l.digest(map[string]string{})
		if err != nil {
			return "", err
		}
		if digest != "" {
			h.Write(append(field(l.dir), digest...))
			found = true
		}
	}
	if !found {
		return "", nil
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// fileDigest returns the digest of a file's contents; if it was remembered,
// without reading them.
func fileDigest(ctx context.Context, digests Digests, path string, now time.Time) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !before.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	stamp, settled := stampOf(before, now)
	if digests == nil || !settled {
		return read(ctx, f)
	}
	digest, err := digests.Get(ctx, path, stamp)
	if err != nil || len(digest) == sha256.Size {
		return digest, err
	}
	if digest, err = read(ctx, f); err != nil {
		return nil, err
	}
	after, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if again, _ := stampOf(after, now); string(again) != string(stamp) {
		return digest, nil // written to meanwhile: of use this once
	}
	return digest, digests.Put(ctx, path, stamp, digest)
}

func read(ctx context.Context, r io.Reader) ([]byte, error) {
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return nil, err
	}
	return h.Sum(nil), ctx.Err()
}

// listing is a directory of which so many levels of entries count.
type listing struct {
	dir    string
	levels int
}

// digest returns a digest of the listing, empty if there is nothing at the path;
// of something else than a directory one of its own data.
// seen holds the digests of directories that were looked at, by real path.
func (l listing) digest(seen map[string]string) (string, error) {
	info, err := os.Stat(l.dir)
	if absent(err) {
		return "", nil
	}
	if err == nil && !info.IsDir() {
		own := sha256.Sum256(statusOf(info).append(nil))
		return hex.EncodeToString(own[:]), nil
	}
	// The real path is part of it: where everything has the same time, as in the
	// Nix store, nothing else tells one version from another.
	real, err := filepath.EvalSymlinks(l.dir)
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		return "", err
	}
	if digest, ok := seen[real]; ok && real != "" {
		return digest, nil
	}
	h := sha256.New()
	h.Write(field(real))
	if err := l.add(h); absent(err) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	seen[real] = hex.EncodeToString(h.Sum(nil))
	return seen[real], nil
}

// add adds the directory's entries to a digest. A directory that is closed to
// this user counts by its own data: steps may still be able to execute what is
// in it.
func (l listing) add(h hash.Hash) error {
	f, names, err := openDir(l.dir)
	if errors.Is(err, fs.ErrPermission) {
		if own, err := os.Stat(l.dir); err == nil {
			h.Write(statusOf(own).append(nil))
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(names))))
	for _, name := range names {
		if err := l.addEntry(h, f, name); err != nil {
			return err
		}
	}
	return nil
}

// openDir opens a directory and returns the names in it, in order.
func openDir(dir string) (*os.File, []string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	slices.Sort(names)
	return f, names, nil
}

// addEntry adds one entry, where a link leads, and for a directory the levels
// below. What is gone by now, or leads nowhere, counts as that.
func (l listing) addEntry(h hash.Hash, dir *os.File, name string) error {
	b := field(name)
	own, err := statAt(dir, name, false)
	if err != nil && !absent(err) {
		return err
	}
	b = own.append(b)
	if own.mode.Type() == fs.ModeSymlink {
		target, err := readlinkAt(dir, name)
		if err != nil && !absent(err) {
			return err
		}
		b = append(b, field(target)...)
		if followed, err := statAt(dir, name, true); err == nil {
			b = followed.append(b)
		}
	}
	h.Write(b)
	if !own.mode.IsDir() || l.levels < 2 {
		return nil
	}
	err = listing{filepath.Join(l.dir, name), l.levels - 1}.add(h)
	if absent(err) {
		return nil
	}
	return err
}

// status is what tells a file that was replaced or changed.
type status struct {
	mode    fs.FileMode
	size    int64 // of a regular file; that of others is the file system's business
	seconds int64 // time of modification
	nanos   int64
}

func statusOf(info fs.FileInfo) status {
	t := info.ModTime()
	s := status{mode: info.Mode(), seconds: t.Unix(), nanos: int64(t.Nanosecond())}
	if info.Mode().IsRegular() {
		s.size = info.Size()
	}
	return s
}

func (s status) append(b []byte) []byte {
	for _, n := range []int64{int64(s.mode), s.size, s.seconds, s.nanos} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return b
}

// field returns a string in a form that tells where it ends.
func field(s string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...)
}

// absent reports that there is nothing at a path.
func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) || leadsNowhere(err) }
