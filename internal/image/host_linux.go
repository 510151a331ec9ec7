package image

import (
	"os"
	"strings"
)

// systemVersion returns what os-release(5) says about the distribution.
func systemVersion() (string, error) {
	for _, path := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		data, err := os.ReadFile(path)
		if absent(err) {
			continue
		}
		if err != nil {
			return "", err
		}
		return osRelease(string(data)), nil
	}
	return "", nil
}

// osRelease picks from an os-release file what names a release or a build.
func osRelease(data string) string {
	values := map[string]string{}
	for line := range strings.Lines(data) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			values[name] = strings.Trim(value, `"'`)
		}
	}
	var found []string
	for _, name := range []string{"ID", "VERSION_ID", "VARIANT_ID", "BUILD_ID", "IMAGE_ID", "IMAGE_VERSION"} {
		if values[name] != "" {
			found = append(found, values[name])
		}
	}
	return strings.Join(found, " ")
}

// packageFiles are the databases of dpkg, rpm (in its three formats and two
// places) and apk.
func packageFiles() []string {
	return []string{
		"/var/lib/dpkg/status",
		"/var/lib/rpm/rpmdb.sqlite", "/var/lib/rpm/rpmdb.sqlite-wal", "/var/lib/rpm/Packages.db", "/var/lib/rpm/Packages",
		"/usr/lib/sysimage/rpm/rpmdb.sqlite", "/usr/lib/sysimage/rpm/rpmdb.sqlite-wal", "/usr/lib/sysimage/rpm/Packages.db",
		"/lib/apk/db/installed",
	}
}

// packageDirs are databases with an entry for each package: of pacman, portage,
// snap, images without dpkg itself, and Nix, where one link is the whole state.
func packageDirs() []listing {
	return []listing{
		{"/var/lib/pacman/local", 1},
		{"/var/db/pkg", 2},
		{"/var/lib/snapd/snaps", 1},
		{"/var/lib/dpkg/status.d", 1},
		{"/run/current-system", 1},
		{"/nix/var/nix/profiles/default", 1},
	}
}

// toolDirs are where tools go that no package manager knows of. /usr/local/lib
// is two levels deep, because pip and npm install into directories there.
func toolDirs() []listing {
	return []listing{
		{"/usr/local/bin", 1}, {"/usr/local/sbin", 1}, {"/usr/local/lib", 2}, {"/opt", 1},
	}
}
