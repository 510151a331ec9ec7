package render

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-ci/strata/internal/journal"
)

func TestJSONEventsAreTheJournals(t *testing.T) {
	s := failing()
	var out bytes.Buffer
	if err := JSON(&out, s.stream()); err != nil {
		t.Fatal(err)
	}
	var want, got []journal.Event
	for _, item := range s.items {
		if item.Event != nil {
			want = append(want, *item.Event)
		}
	}
	logs := make(map[string]string)
	for line := range strings.Lines(out.String()) {
		var o stepOutput
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if o.Type == "step_output" {
			logs[o.Step] += o.Text
			continue
		}
		var e journal.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if logs["build"] != "compiling a\ncompiling b\n" {
		t.Errorf("the log of build is %q", logs["build"])
	}
}

// jsonOutput returns the lines of step a and checks that they are well formed.
func jsonOutput(t *testing.T, s *story) []stepOutput {
	t.Helper()
	var out bytes.Buffer
	if err := JSON(&out, s.stream()); err != nil {
		t.Fatal(err)
	}
	var pieces []stepOutput
	ended := false
	for line := range strings.Lines(out.String()) {
		if !utf8.ValidString(line) {
			t.Errorf("a line is not UTF-8: %q", line)
		}
		var o stepOutput
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatal(err)
		}
		switch {
		case o.Type == "step_finished":
			ended = true
		case o.Type == "step_output" && (ended || o.RunID != "r1" || o.Step != "a"):
			t.Errorf("misplaced output: %s", line)
		case o.Type == "step_output":
			pieces = append(pieces, o)
		}
	}
	return pieces
}

func TestJSONOutputIsByteExact(t *testing.T) {
	text := "plain <&>\u2028 é € 😀 \x00\x1b[1m"
	binary := "\xff\xfe\xf0\x9f\x98 x \xe2\x82"
	for _, whole := range []string{text, binary, text + binary, ""} {
		for seed := range uint64(20) {
			var got string
			for _, o := range jsonOutput(t, outputStory(cut(whole, rand.New(rand.NewPCG(seed, 2)))...)) {
				got += o.Text + string(o.Data)
			}
			if got != whole {
				t.Fatalf("seed %d: got %q, want %q", seed, got, whole)
			}
		}
	}
}

func TestJSONCutsAtCharacters(t *testing.T) {
	for _, o := range jsonOutput(t, outputStory(strings.Split("é€😀", "")...)) {
		if o.Data != nil {
			t.Errorf("valid text came as data: %q", o.Data)
		}
	}
	pieces := jsonOutput(t, outputStory("\xe2", "\x82", "\xac!", "\xe2\x82"))
	if len(pieces) != 2 || pieces[0].Text != "€!" || string(pieces[1].Data) != "\xe2\x82" {
		t.Errorf("got %+v", pieces)
	}
}
