package filetree

import (
	"fmt"
	"io/fs"
	"os"
)

// fileID names a file among all of the machine.
type fileID struct{}

// linkedFile reports no links: on Windows hard links are copied as files.
func linkedFile(fs.FileInfo) (fileID, bool) { return fileID{}, false }

// copyOwner does nothing: all files in a snapshot are the user's own.
func copyOwner(string, fs.FileInfo) error { return nil }

// copyTimes leaves a symlink's own times alone.
func copyTimes(dst string, info fs.FileInfo) error {
	if info.Mode()&fs.ModeSymlink != 0 {
		return nil
	}
	return os.Chtimes(dst, info.ModTime(), info.ModTime())
}

func copySpecial(dst string, info fs.FileInfo) error {
	return fmt.Errorf("copy %s: unknown kind of file %v", dst, info.Mode())
}

// SyncDir does nothing: Windows cannot sync a directory.
func SyncDir(string) error { return nil }
