package pipeline

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestValidName(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "go-test": true, "A.b_c-9": true, "9": true, strings.Repeat("x", 64): true,
		"": false, "-a": false, ".a": false, "..": false, "a b": false, "a/b": false, "ä": false, "a\n": false,
		strings.Repeat("x", 65): false,
	} {
		if got := ValidName(name); got != want {
			t.Errorf("ValidName(%q) = %v, want %v", name, got, want)
		}
	}
}

func TestNameFor(t *testing.T) {
	for command, want := range map[string]string{
		"go test ./...":                  "go-test",
		"go build -o bin/x ./cmd/x":      "go-build",
		"npm run build":                  "npm-run-build",
		"make -j4 test":                  "make-test",
		"./scripts/release.sh v1":        "release.sh-v1",
		"CGO_ENABLED=0 go vet ./...":     "go-vet",
		"cd web && npm ci":               "npm-ci",
		"set -eu\n# comment\ncargo test": "cargo-test",
		"set -eu":                        "set",
		"echo 'hello world' | tee x":     "echo",
		"test -f x || exit 1":            "test-x",
		"":                               "step",
		"$(find . -name x)":              "find",
		"日本語":                            "step",
		strings.Repeat("a", 100):         strings.Repeat("a", 40),
	} {
		if got := NameFor(Command{Shell: command}, nil); got != want {
			t.Errorf("NameFor(%q) = %q, want %q", command, got, want)
		}
	}
	for want, args := range map[string][]string{
		"pytest-tests": {"/usr/bin/pytest", "-q", "tests"},
		"go-test":      {"bash", "-euc", "go test ./..."},
		"two-words":    {"two words"},
	} {
		if got := NameFor(Command{Args: args}, nil); got != want {
			t.Errorf("NameFor(%q) = %q, want %q", args, got, want)
		}
	}
}

func TestNameForTaken(t *testing.T) {
	taken := make(map[string]bool)
	asked := 0
	const n = 5000
	for range n {
		name := NameFor(Command{Shell: "go test"}, func(s string) bool { asked++; return taken[s] })
		if taken[name] {
			t.Fatalf("%q is taken", name)
		}
		taken[name] = true
	}
	if !taken["go-test"] || !taken["go-test-2"] || !taken["go-test-5000"] {
		t.Error("the names of equal commands are not counted")
	}
	if asked > n*40 {
		t.Errorf("%d questions for %d names", asked, n)
	}
}

func TestNameForIsAlwaysValid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Command{Shell: rapid.String().Draw(t, "shell")}
		if rapid.Bool().Draw(t, "list") {
			c = Command{Args: rapid.SliceOfN(rapid.String(), 1, 4).Draw(t, "args")}
		}
		taken := rapid.IntRange(0, 9).Draw(t, "taken")
		name := NameFor(c, func(string) bool { taken--; return taken >= 0 })
		if !ValidName(name) {
			t.Fatalf("NameFor(%q) = %q, which is no valid name", c, name)
		}
	})
}
