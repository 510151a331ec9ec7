package main

import (
	"slices"
	"strings"
	"testing"
)

// FuzzCompletion: whatever stands on the command line, every candidate goes on
// from its last word, and is one line.
func FuzzCompletion(f *testing.F) {
	var c cli
	var asked bool
	parser, err := newParser(&c, &app{}, &asked)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"r", "run\n--format\n=\np", "graph\n--as=s", "-C\nx\nrun\n-", "=\n--\n", "runs\n-n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a := &app{dir: t.TempDir(), getenv: func(string) string { return "" }}
		words := joinEquals(strings.Split(text, "\n"))
		word := words[len(words)-1]
		line := readLine(parser.Model.Node, words[:len(words)-1])
		found, files := line.candidates(t.Context(), a, word)
		if files && len(found) > 0 {
			t.Error("both candidates and file names")
		}
		for _, c := range found {
			if !strings.HasPrefix(c.word, word) || strings.ContainsAny(c.word+c.help, "\n") {
				t.Errorf("%q is offered for %q", c, word)
			}
		}
	})
}

func TestJoinEquals(t *testing.T) {
	tests := map[string]string{
		"run --step = b":     "run --step=b",
		"run --step =":       "run --step=",
		"run --env A = B":    "run --env A = B",
		"run = x":            "run = x",
		"run --step = b --x": "run --step=b --x",
	}
	for words, want := range tests {
		if got := joinEquals(strings.Fields(words)); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%s: %q, want %s", words, got, want)
		}
	}
}
