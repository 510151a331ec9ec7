package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/windows"
)

// systemVersion returns the version of Windows.
func systemVersion() (string, error) {
	v := windows.RtlGetVersion()
	return fmt.Sprintf("windows %d.%d.%d", v.MajorVersion, v.MinorVersion, v.BuildNumber), nil
}

// packageFiles are none: Windows keeps what is installed in its registry.
func packageFiles() []string { return nil }

// packageDirs are where programs and Chocolatey's packages lie.
func packageDirs() []listing {
	var dirs []listing
	for _, name := range []string{"ProgramFiles", "ProgramFiles(x86)"} {
		if dir := os.Getenv(name); dir != "" {
			dirs = append(dirs, listing{dir, 1})
		}
	}
	if dir := os.Getenv("ProgramData"); dir != "" {
		dirs = append(dirs, listing{filepath.Join(dir, "chocolatey", "lib"), 1})
	}
	return dirs
}

// toolDirs are none: there is no custom of where tools go by hand.
func toolDirs() []listing { return nil }

// leadsNowhere reports a name that cannot be one here.
func leadsNowhere(err error) bool { return errors.Is(err, windows.ERROR_INVALID_NAME) }

// stampOf has nothing to rely on: the time of a file's last write can be set.
func stampOf(fs.FileInfo, time.Time) (stamp []byte, settled bool) { return nil, false }

// statAt looks at the entry of a directory.
func statAt(dir *os.File, name string, follow bool) (status, error) {
	stat := os.Lstat
	if follow {
		stat = os.Stat
	}
	info, err := stat(filepath.Join(dir.Name(), name))
	if err != nil {
		return status{}, err
	}
	return statusOf(info), nil
}

func readlinkAt(dir *os.File, name string) (string, error) {
	return os.Readlink(filepath.Join(dir.Name(), name))
}
