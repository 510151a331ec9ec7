//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/strata-ci/strata/internal/journal"
)

// fork measures what a step costs that builds in a parent of 100,000 files and
// 1 GB, in turn with one that builds in an empty parent, all in one run.
func fork(l *lab, r *report) error {
	pairs := max(20, l.rounds)
	d, err := l.desk(l.accounts[0], forks(pairs))
	if err != nil {
		return err
	}
	durations, err := d.durations("-j", "1")
	if err != nil {
		return err
	}
	var large, empty []float64
	for i := range pairs {
		large = append(large, durations[fmt.Sprintf("large%d", i)])
		empty = append(empty, durations[fmt.Sprintf("empty%d", i)])
	}
	r.add(row{
		what: "a step whose parent made 100,000 files of together 1 GB", ours: samplesOf(large),
		peer: fmt.Sprintf("a step whose parent made none (%d pairs in one run)", pairs), theirs: samplesOf(empty), goal: ratioAtMost(1.2),
	})
	return nil
}

// forks is a pipeline of two parents with many children, one after the other.
func forks(pairs int) string {
	var b strings.Builder
	const fill = "mkdir t; for d in $(seq 100); do mkdir t/$d; head -c 10240000 /dev/zero | split -a 3 -b 10240 -d - t/$d/f; done; sync"
	fmt.Fprintf(&b, "large = sh(%q, name = \"large\")\nempty = sh(\"true\", name = \"empty\")\nlast = [large, empty]\n", fill)
	for i := range pairs {
		for _, parent := range []string{"large", "empty"} {
			fmt.Fprintf(&b, "last = [%s.sh(\"true\", name = \"%s%d\", after = last)]\n", parent, parent, i)
		}
	}
	b.WriteString("pipeline(\"bench\", last)\n")
	return b.String()
}

// durations runs the pipeline and returns the milliseconds of each step.
func (d *desk) durations(flags ...string) (map[string]float64, error) {
	events, err := d.events(flags...)
	if err != nil {
		return nil, err
	}
	durations := map[string]float64{}
	for _, ev := range events {
		if ev.Type == journal.StepFinished {
			durations[ev.Step] = ev.DurationMS
		}
	}
	return durations, nil
}

// events runs the pipeline and returns all events of the run.
func (d *desk) events(flags ...string) ([]journal.Event, error) {
	var out bytes.Buffer
	cmd := d.command(append([]string{d.lab.strata, "run", "--format", "json"}, flags...)...)
	cmd.Stdout = &out
	if _, err := d.run(cmd); err != nil {
		return nil, err
	}
	var events []journal.Event
	lines := json.NewDecoder(bufio.NewReader(&out))
	for {
		var ev journal.Event
		if err := lines.Decode(&ev); err == io.EOF {
			return events, nil
		} else if err != nil {
			return nil, err
		}
		events = append(events, ev)
	}
}
