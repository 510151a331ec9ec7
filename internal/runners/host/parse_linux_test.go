package host

import (
	"bytes"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSpecSurvivesTheSupervisorsPipe(t *testing.T) {
	for _, want := range []spec{
		{path: "/bin/sh", dir: "/tmp", argv: []string{"sh", "-e", "-c", "exit"}, env: []string{"A=1", "B="}},
		{path: "p", dir: "d", argv: []string{""}, env: []string{}},
		{path: "\xff\n", dir: "", argv: []string{"a", "", "\xfe"}, env: []string{"", "X=\n"}},
	} {
		message, err := want.encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeSpec(bytes.NewReader(message))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(spec{})); diff != "" {
			t.Errorf("the message of %q is read as (-want +got):\n%s", want, diff)
		}
	}
	if _, err := (spec{path: "a", argv: []string{"x\x00y"}}).encode(); err == nil {
		t.Error("a NUL byte in an argument is accepted")
	}
}

func FuzzDecodeSpec(f *testing.F) {
	message, err := spec{path: "/bin/true", dir: "/", argv: []string{"true"}, env: []string{"A=b"}}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(message)
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Add([]byte("\x00\x00\x00\x08a\x00b\x009\x00c\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := decodeSpec(bytes.NewReader(data))
		if err != nil {
			return
		}
		// Numbers can be written in several ways; what was read is stable.
		again, err := s.encode()
		if err != nil {
			t.Fatalf("%q cannot be written again: %v", s, err)
		}
		if got, err := decodeSpec(bytes.NewReader(again)); err != nil || !slices.Equal(got.argv, s.argv) || !slices.Equal(got.env, s.env) {
			t.Errorf("%q is read again as %q, %v", s, got, err)
		}
	})
}

func TestParseStat(t *testing.T) {
	const rest = " 4194560 1 2 3 4 5 6 7 8 20 0 "
	for line, want := range map[string]process{
		"7 (sh) S 3 5 6 0 -1" + rest + "1 0 99":              {7, 3, 5, 6},
		"7 (a) b (c) R 1 2 3) R 3 5 6 0 -1" + rest + "1 0 9": {7, 3, 5, 6},
		"7 (leader) Z 3 5 6 0 -1" + rest + "4 0 9":           {7, 3, 5, 6},
		"7 (dead) Z 3 5 6 0 -1" + rest + "1 0 9":             {},
		"7 (cut) S 3 5":                                      {},
		"":                                                   {},
	} {
		got, ok := parseStat(7, []byte(line))
		if got != want || ok != (want != process{}) {
			t.Errorf("parseStat(%q) = %v, %v, want %v", line, got, ok, want)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	self, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(self)
	f.Add([]byte(")"))
	f.Add([]byte("1 (a) Z 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 0"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if p, ok := parseStat(1, data); !ok && p != (process{}) {
			t.Errorf("%q is refused and read as %v", data, p)
		}
	})
}

func TestDescendants(t *testing.T) {
	table := []process{
		{pid: 1, parent: 0},
		{pid: 10, parent: 1},
		{pid: 11, parent: 10},
		{pid: 12, parent: 11},
		{pid: 13, parent: 10},
		{pid: 20, parent: 1},
		{pid: 30, parent: 31},
		{pid: 31, parent: 30},
	}
	got := descendantsOf(10, table)
	slices.Sort(got)
	if want := []int{11, 12, 13}; !slices.Equal(got, want) {
		t.Errorf("the descendants of 10 are %v, want %v", got, want)
	}
	if got := descendantsOf(30, table); len(got) > 2 {
		t.Errorf("the descendants of a process in a circle are %v", got)
	}
}
