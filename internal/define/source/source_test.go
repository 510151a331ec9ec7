package source

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/strata-ci/strata/pipeline"
)

func TestError(t *testing.T) {
	e := &Error{
		Pos: pipeline.Position{File: "a.star", Line: 12, Col: 3}, Message: "wrong", Line: "\tx = \"ä\"  ",
		Calls: []Call{{pipeline.Position{File: "b.star", Line: 1, Col: 1}, "called from"}},
	}
	const want = "a.star:12:3: wrong\n    12 | \tx = \"ä\"\n       | \t ^\n    called from b.star:1:1"
	if got := e.Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := (&Error{Message: "wrong"}).Error(); got != "wrong" {
		t.Errorf("without a place: %q", got)
	}
}

func TestExcerpt(t *testing.T) {
	long := strings.Repeat("a", 150) + "X" + strings.Repeat("b", 300)
	got := strings.Split(Excerpt(pipeline.Position{Line: 1, Col: 151}, long), "\n")
	if len(got) != 2 || got[0][strings.Index(got[1], "^")] != 'X' || utf8.RuneCountInString(got[0]) > width+10 {
		t.Errorf("a long line is not cut around its column: %q", got)
	}
	for line, pos := range map[string]pipeline.Position{
		"":                           {Line: 1, Col: 1},
		"  ":                         {Line: 1, Col: 1},
		"x":                          {},
		strings.Repeat("x", 1<<20+1): {Line: 1, Col: 1},
	} {
		if got := Excerpt(pos, line); got != "" {
			t.Errorf("an excerpt %.100q of %.10q at %v", got, line, pos)
		}
	}
	if got := Excerpt(pipeline.Position{Line: 1, Col: 99}, "\x1b[31mred\xff"); strings.Contains(got, "\x1b") || !utf8.ValidString(got) {
		t.Errorf("the excerpt can control the terminal: %q", got)
	}
}

func FuzzExcerpt(f *testing.F) {
	f.Add(1, 3, "x = 1")
	f.Add(7, 0, "\t\xff\x1b")
	f.Add(1, 500, strings.Repeat("ä", 400))
	f.Fuzz(func(t *testing.T, line, col int, text string) {
		got := Excerpt(pipeline.Position{Line: line, Col: col}, text)
		if !utf8.ValidString(got) || strings.Count(got, "\n") > 1+strings.Count(text, "\n") {
			t.Errorf("%q", got)
		}
	})
}
