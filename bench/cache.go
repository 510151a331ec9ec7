//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/strata-ci/strata/internal/journal"
)

// cached measures runs in which every step has an earlier result, whole
// processes and all.
func cached(l *lab, r *report) error {
	for _, c := range []struct {
		steps, files int
		limit        float64
	}{{20, 1000, 20}, {1000, 1000, 150}} {
		d, err := l.desk(l.accounts[0], cachedSteps(c.steps))
		if err != nil {
			return err
		}
		if err := fillSome(d.project, c.files); err != nil {
			return err
		}
		if err := d.warm(); err != nil {
			return err
		}
		s, err := inTurn(l.rounds, d.time(l.strata, "run"), d.timeMany(5, l.bare))
		if err != nil {
			return err
		}
		r.add(row{
			what: fmt.Sprintf("`strata run`: %d cached steps over %d files", c.steps, c.files), ours: s[0],
			peer: "a bare Go program", theirs: s[1], goal: atMostMilliseconds(c.limit),
		})
	}
	return nil
}

// warm runs the pipeline until all results are there, and the index of files
// trusts their times.
func (d *desk) warm() error {
	for range 3 {
		if _, err := d.run(d.command(d.lab.strata, "run")); err != nil {
			return err
		}
	}
	return nil
}

// cachedSteps is a pipeline of n steps with inputs, in chains of ten.
func cachedSteps(n int) string {
	var b strings.Builder
	for i := range n {
		parent := ""
		if i%10 != 0 {
			parent = fmt.Sprintf("s%d.", i-1)
		}
		fmt.Fprintf(&b, "s%d = %ssh(\"echo %d > out\", name = \"s%d\", cache = on_change(\"pkg%02d/**/*.go\"))\n", i, parent, i, i, i%20)
	}
	var ends []string
	for i := range n {
		if i%10 == 9 || i == n-1 {
			ends = append(ends, fmt.Sprintf("s%d", i))
		}
	}
	fmt.Fprintf(&b, "pipeline(\"bench\", [%s])\n", strings.Join(ends, ", "))
	return b.String()
}

// large measures cached runs over 50,000 files against git's look at them.
func large(l *lab, r *report) error {
	d, err := l.desk(l.accounts[0], cachedSteps(20))
	if err != nil {
		return err
	}
	if err := d.fillAndCommit(); err != nil {
		return err
	}
	if err := d.warm(); err != nil {
		return err
	}
	status := d.time("git", "status", "--porcelain")
	s, err := inTurn(l.rounds, d.time(l.strata, "run"), status)
	if err != nil {
		return err
	}
	r.add(row{
		what: "`strata run`: 20 cached steps over 50,000 files", ours: s[0],
		peer: "`git status` of the same files", theirs: s[1], goal: ratioAtMost(1.5),
	})
	edits := 0
	edited := func(m measure) measure {
		return func() (float64, error) {
			edits++
			file := filepath.Join(d.project, "pkg49", "part49", "file00.go")
			if err := os.WriteFile(file, fmt.Appendf(nil, "package edit%d\n", edits), 0o644); err != nil {
				return 0, err
			}
			return m()
		}
	}
	if s, err = inTurn(l.rounds, edited(d.planning), edited(status)); err != nil {
		return err
	}
	r.add(row{
		what: "capture and plan after an edit of one file in 50,000, in `strata run`", ours: s[0],
		peer: "`git status` after such an edit", theirs: s[1], goal: ratioAtMost(1.5),
	})
	return nil
}

// planning is a measure of the time from a run's start to its plan.
func (d *desk) planning() (float64, error) {
	events, err := d.events()
	if err != nil {
		return 0, err
	}
	for _, ev := range events {
		if ev.Type == journal.PlanMade {
			return milliseconds(ev.Time.Sub(events[0].Time)), nil
		}
	}
	return 0, errors.New("the run has no plan")
}

// loop measures the loop of editing one step's command and running it alone
// from its parent's earlier result.
func loop(l *lab, r *report) error {
	star := func(n int) string {
		return fmt.Sprintf("build = sh(\"seq 100000 > out\", name = \"build\", cache = forever())\n"+
			"pipeline(\"bench\", build.sh(\"wc -l out; echo %d\", name = \"test\", cache = forever()))\n", n)
	}
	d, err := l.desk(l.accounts[0], star(0))
	if err != nil {
		return err
	}
	if err := fillSome(d.project, 1000); err != nil {
		return err
	}
	if err := d.warm(); err != nil {
		return err
	}
	edits := 0
	run := d.time(l.strata, "run", "--step", "test")
	s, err := inTurn(l.rounds, func() (float64, error) {
		edits++
		if err := os.WriteFile(filepath.Join(d.project, ".strata", "bench.star"), []byte(star(edits)), 0o644); err != nil {
			return 0, err
		}
		return run()
	}, d.time("sh", "-c", "seq 100000 > out; wc -l out; rm out"))
	if err != nil {
		return err
	}
	r.add(row{
		what: "`strata run --step test` after an edit of its command", ours: s[0],
		peer: "the commands of its parent and its own by `sh`", theirs: s[1], goal: within(100, "ms"),
	})
	return nil
}

// fillSome makes n files in 20 directories.
func fillSome(root string, n int) error {
	for i := range n {
		dir := filepath.Join(root, fmt.Sprintf("pkg%02d", i%20))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("file%d.go", i)), fmt.Appendf(nil, "package p%d\n", i), 0o644); err != nil {
			return err
		}
	}
	return nil
}
