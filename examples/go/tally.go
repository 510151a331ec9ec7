// Package tally counts the words of a text.
package tally

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
)

// Count is a word and how often it occurs.
type Count struct {
	Word  string
	Times int
}

// Words reads a text and returns its words in lower case, the most frequent
// first and equally frequent ones in the order of the alphabet.
func Words(r io.Reader) ([]Count, error) {
	times := make(map[string]int)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		for _, word := range strings.FieldsFunc(lines.Text(), notInWord) {
			times[strings.ToLower(word)]++
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the text: %w", err)
	}
	counts := make([]Count, 0, len(times))
	for word, n := range times {
		counts = append(counts, Count{word, n})
	}
	slices.SortFunc(counts, func(a, b Count) int {
		return cmp.Or(cmp.Compare(b.Times, a.Times), cmp.Compare(a.Word, b.Word))
	})
	return counts, nil
}

func notInWord(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '\'' }
