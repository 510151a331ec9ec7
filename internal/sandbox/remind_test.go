//go:build linux

package sandbox

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestMinds(t *testing.T) {
	for status, want := range map[string]bool{
		"Name:\tsh\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000000000\n": false,
		"SigCgt:\t0000000000004000\n": true,
		"SigIgn:\t0000000000004000\n": true,
		"SigBlk:\t0000000000004000\n": true,
		"SigPnd:\t0000000000004000\n": false,
		"SigCgt:\t0000000000002000\n": false,
		"SigCgt:\tnonsense\n":         true,
		"":                            false,
	} {
		if got := minds(status, unix.SIGTERM); got != want {
			t.Errorf("%q: got %v, want %v", status, got, want)
		}
	}
}
