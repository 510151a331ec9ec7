package tally

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestWords(t *testing.T) {
	for text, want := range map[string][]Count{
		"":                        {},
		"b a\nA":                  {{"a", 2}, {"b", 1}},
		"To be, or not to be!":    {{"be", 2}, {"to", 2}, {"not", 1}, {"or", 1}},
		"Größe größe — don't 42.": {{"größe", 2}, {"42", 1}, {"don't", 1}},
	} {
		got, err := Words(strings.NewReader(text))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("Words(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestWordsReportsReadErrors(t *testing.T) {
	broken := errors.New("the disk is on fire")
	if _, err := Words(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
