package image

import (
	"strings"
	"testing"
)

func TestOSRelease(t *testing.T) {
	for data, want := range map[string]string{
		"PRETTY_NAME=\"Debian GNU/Linux 12\"\nVERSION_ID=\"12\"\nID=debian\n": "debian 12",
		"ID=nixos\r\nBUILD_ID='24.05.1'\nVERSION_ID=24.05":                    "nixos 24.05 24.05.1",
		"#ID=x\n\nID\n=": "",
	} {
		if got := osRelease(data); got != want {
			t.Errorf("%q: got %q, want %q", data, got, want)
		}
	}
}

func FuzzOSRelease(f *testing.F) {
	f.Add("ID=debian\nVERSION_ID=\"12\"\n")
	f.Add("ID='\"\n=\x00")
	f.Fuzz(func(t *testing.T, data string) {
		if got := osRelease(data); strings.Contains(got, "\n") || len(got) > len(data)+5 {
			t.Errorf("%q gives %q", data, got)
		}
	})
}
