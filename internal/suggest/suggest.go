// Package suggest finds what somebody probably meant.
//
// In: a word that does not exist and those that do. Out: the nearest of them,
// or nothing when none is near. It never decides what happens to the word.
package suggest

import (
	"strconv"
	"strings"
)

// Nearest returns the candidate with the smallest edit distance to word, the
// first of equals, or "" when none is near enough to be a misspelling: at most
// one edit for every three characters. Letter case does not count.
func Nearest(word string, candidates []string) string {
	folded := []rune(strings.ToLower(word))
	best, bestDistance := "", max(1, len(folded)/3)+1
	for _, c := range candidates {
		if abs(len(c)-len(word)) > 4*bestDistance { // a rune has at most 4 bytes
			continue
		}
		d := distance(folded, []rune(strings.ToLower(c)), bestDistance)
		if d < bestDistance && d < len(folded) {
			best, bestDistance = c, d
		}
	}
	return best
}

// Hint returns ` (did you mean "x"?)` for the nearest candidate, or "".
func Hint(word string, candidates []string) string {
	if n := Nearest(word, candidates); n != "" {
		return " (did you mean " + strconv.Quote(n) + "?)"
	}
	return ""
}

// HintName is [Hint] for names that have labels, which are what people see on
// the screen: a word near to labels[i] means names[i]. A label may be empty.
func HintName(word string, names, labels []string) string {
	if hint := Hint(word, names); hint != "" {
		return hint
	}
	near := Nearest(word, labels)
	for i, label := range labels {
		if near != "" && label == near {
			return " (did you mean " + strconv.Quote(names[i]) + "?)"
		}
	}
	return ""
}

func abs(n int) int { return max(n, -n) }

// distance is the number of insertions, deletions, replacements and swaps of
// neighbours that turn a into b, or limit if it is not less than that.
func distance(a, b []rune, limit int) int {
	if abs(len(a)-len(b)) >= limit {
		return limit
	}
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i, x := range a {
		row[0] = i + 1
		smallest := row[0]
		for j, y := range b {
			cost := above[j]
			if x != y {
				cost++
			}
			cost = min(cost, above[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && x == b[j-1] && a[i-1] == y {
				cost = min(cost, before[j-1]+1)
			}
			row[j+1] = cost
			smallest = min(smallest, cost)
		}
		if smallest > limit {
			return limit
		}
		before, above, row = above, row, before
	}
	return min(above[len(b)], limit)
}
