//go:build !windows

package runnertest

import (
	"syscall"
	"testing"
)

// disturbProcess gives this process what a step must not inherit: an unusual
// mask and an open file that programs it starts would get. The returned function
// takes both back.
func disturbProcess(t testing.TB) (restore func()) {
	fd, err := syscall.Open("/dev/null", syscall.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	mask := syscall.Umask(0o077)
	return func() {
		syscall.Umask(mask)
		if err := syscall.Close(fd); err != nil {
			t.Error(err)
		}
	}
}
