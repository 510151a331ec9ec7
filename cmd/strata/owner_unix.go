//go:build unix

package main

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// othersState says what to do about a state directory that belongs to another
// user than the one who may write there all the same, which is root; "" for
// one's own.
func othersState(dir string, info fs.FileInfo) string {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int64(st.Uid) == int64(os.Geteuid()) || os.Geteuid() != 0 {
		return ""
	}
	return fmt.Sprintf("the state directory %s belongs to the user with ID %d, who will not be able to remove what this run leaves there; "+
		"set STRATA_HOME to a directory of your own, or give all of it back with chown -R", dir, st.Uid)
}
