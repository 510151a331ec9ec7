//go:build linux

package main

import (
	"strings"
	"testing"
)

func TestSamplesArePairedByRound(t *testing.T) {
	ours := samplesOf([]float64{10, 30, 20})
	theirs := samplesOf([]float64{5, 10, 20})
	if got := ours.over(theirs).median(); got != 2 {
		t.Errorf("median of the ratios 2, 3 and 1: got %v", got)
	}
	if got := ours.over(theirs).best; got != 2 {
		t.Errorf("ratio of the bests, 10 / 5: got %v", got)
	}
	if got := ours.minus(theirs).best; got != 5 {
		t.Errorf("difference of the bests, 10 - 5: got %v", got)
	}
	if got := median([]float64{4, 1, 3, 2}); got != 2.5 {
		t.Errorf("median of an even number: got %v", got)
	}
}

func TestReportSaysWhatWasMissed(t *testing.T) {
	fast, mixed, slow := samplesOf([]float64{1, 1, 1}), samplesOf([]float64{1, 3, 3}), samplesOf([]float64{3, 3, 3})
	for _, c := range []struct {
		ours samples
		want string
	}{{fast, "yes"}, {mixed, "best only"}, {slow, "no"}} {
		var r report
		r.table("Files")
		r.add(row{what: "a thing", ours: c.ours, peer: "another", theirs: fast, goal: ratioAtMost(2)})
		if page := string(r.markdown()); !strings.Contains(page, "| "+c.want+" |") {
			t.Errorf("%v against %v, at most twice: want %q in\n%s", c.ours, fast, c.want, page)
		}
	}
}
