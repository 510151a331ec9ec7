package suggest

import "testing"

func TestNearest(t *testing.T) {
	names := []string{"build", "test", "lint", "image", "go-test", "Größe"}
	for word, want := range map[string]string{
		"biuld":   "build", // neighbours swapped
		"buil":    "build",
		"imagee":  "image",
		"IMAGE":   "image",
		"tset":    "test",
		"Grösse":  "Größe",
		"x":       "", // everything would be one edit per letter away
		"":        "",
		"deploy":  "",
		"go_test": "go-test",
	} {
		if got := Nearest(word, names); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
	if got := Hint("biuld", names); got != ` (did you mean "build"?)` {
		t.Errorf("Hint = %q", got)
	}
	if got := Hint("nothing", nil); got != "" {
		t.Errorf("Hint of nothing = %q", got)
	}
	labels := []string{"", "Unit tests", "", "Picture", "", "Size"}
	if got := HintName("unit test", names, labels); got != ` (did you mean "test"?)` {
		t.Errorf("HintName by a label = %q", got)
	}
	if got := HintName("biuld", names, labels); got != ` (did you mean "build"?)` {
		t.Errorf("HintName by a name = %q", got)
	}
	if got := HintName("", names, labels); got != "" {
		t.Errorf("HintName of nothing = %q", got)
	}
}
