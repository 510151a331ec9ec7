package main

import (
	"bytes"
	"os"
	"testing"
)

// TestReference holds the committed reference to what the commands are.
func TestReference(t *testing.T) {
	var c cli
	var asked bool
	parser, err := newParser(&c, &app{}, &asked)
	if err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile("../../docs/reference/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, reference(parser.Model)) {
		t.Error("docs/reference/cli.md is not current: run `go run ./cmd/strata __docs docs`")
	}
}
