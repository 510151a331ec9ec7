package image

import (
	"context"
	"encoding/hex"
	"time"
)

// systemVersion returns a digest of what sw_vers(1) prints.
func systemVersion() (string, error) {
	digest, err := fileDigest(context.Background(), nil, "/System/Library/CoreServices/SystemVersion.plist", time.Time{})
	if absent(err) {
		return "", nil
	}
	return hex.EncodeToString(digest), err
}

// packageFiles is Xcode's version.
func packageFiles() []string { return []string{"/Applications/Xcode.app/Contents/version.plist"} }

// packageDirs are Homebrew's formulas with their versions, on both kinds of
// machines, its casks, and the receipts of installers.
func packageDirs() []listing {
	return []listing{
		{"/opt/homebrew/Cellar", 2},
		{"/opt/homebrew/Caskroom", 2},
		{"/usr/local/Cellar", 2},
		{"/usr/local/Caskroom", 2},
		{"/var/db/receipts", 1},
		{"/var/db/xcode_select_link", 1},
	}
}

// toolDirs are where tools go that no package manager knows of. /usr/local/lib
// is two levels deep, because pip and npm install into directories there.
func toolDirs() []listing {
	return []listing{
		{"/usr/local/bin", 1}, {"/usr/local/sbin", 1}, {"/usr/local/lib", 2}, {"/opt", 1}, {"/opt/homebrew/bin", 1},
	}
}
