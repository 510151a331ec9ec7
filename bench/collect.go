//go:build linux

package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/strata-ci/strata/internal/cache"
	"github.com/strata-ci/strata/internal/filetree"
	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/internal/records"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// partBytes is what each result that collect makes has of its own.
const partBytes = 1000

// collect measures the collector, as a whole process, with many results: how
// long it takes, and that its memory does not grow with their number.
func collect(l *lab, r *report) error {
	const few, many = 10_000, 100_000
	var desks []*desk
	for _, n := range []int{few, many} {
		d, err := l.desk(l.accounts[0], cachedSteps(1))
		if err != nil {
			return err
		}
		if err := d.fillRecords(n); err != nil {
			return fmt.Errorf("make %d results: %w", n, err)
		}
		desks = append(desks, d)
	}
	looked, err := inTurn(l.rounds, desks[1].time(desks[1].collector(2*many)...), desks[0].time(desks[0].collector(2*many)...))
	if err != nil {
		return err
	}
	r.add(row{
		what: "the collector, with 100,000 results of which all may stay", ours: looked[0],
		peer: "with 10,000", theirs: looked[1], goal: atMostMilliseconds(2000),
	})
	removed, err := inTurn(l.fewRounds(), desks[1].collecting(many*9/10, desks[1].run), desks[0].collecting(few*9/10, desks[0].run))
	if err != nil {
		return err
	}
	r.add(row{what: "the collector, removing 10,000 of 100,000 results", ours: removed[0], peer: "1,000 of 10,000", theirs: removed[1]})
	peak, err := inTurn(l.fewRounds(), desks[1].collecting(many*9/10, peakMemory), desks[0].collecting(few*9/10, peakMemory))
	if err != nil {
		return err
	}
	r.add(row{
		what: "memory at its peak, removing 10,000 of 100,000 results", ours: peak[0],
		peer: "1,000 of 10,000", theirs: peak[1], unit: "MB", goal: within(10, "MB"),
	})
	return nil
}

// collector is a command that leaves so many results.
func (d *desk) collector(left int) []string {
	return []string{d.lab.strata, "cache", "prune", "--max-bytes", fmt.Sprint(left * partBytes)}
}

// collecting returns a measure of the collector that begins each time with all
// results.
func (d *desk) collecting(left int, measured func(*exec.Cmd) (float64, error)) measure {
	return func() (float64, error) {
		file := records.Path(filepath.Join(d.dir, "state"))
		for _, old := range []string{file, file + "-wal", file + "-shm"} {
			if err := os.RemoveAll(old); err != nil {
				return 0, err
			}
		}
		if err := filetree.CopyFile(filepath.Join(d.dir, "full.db"), file); err != nil {
			return 0, err
		}
		return measured(d.command(d.collector(left)...))
	}
}

// fillRecords makes n results in chains of ten, with the records of nothing else,
// and keeps a copy of these.
func (d *desk) fillRecords(n int) (err error) {
	state := filepath.Join(d.dir, "state")
	db, err := records.Open(state, records.Options{})
	if err != nil {
		return err
	}
	c := cache.New(db, filepath.Join(state, "cache"), time.Now)
	var batch []cache.Result
	var parts []runner.SnapshotPart
	for i := range n {
		if i%10 == 0 {
			parts = nil
		}
		name := fmt.Sprint("s", i)
		parts = append(parts, runner.SnapshotPart{ID: name, Bytes: pipeline.Bytes(partBytes)})
		batch = append(batch, cache.Result{
			Key: sha256.Sum256([]byte(name)), Step: plan.StepID{Project: d.project, Pipeline: "bench", Step: name},
			Runner: "host", Ref: runner.SnapshotRef("run." + name), Run: "run", Duration: time.Second,
			Material: &plan.Material{Command: []string{"make", name}}, Parts: parts[:len(parts):len(parts)],
		})
		if len(batch) == 1000 || i == n-1 {
			if err := c.Put(d.lab.ctx, batch); err != nil {
				return errors.Join(err, db.Close())
			}
			batch = nil
		}
	}
	if err := db.Close(); err != nil {
		return err
	}
	return filetree.CopyFile(records.Path(state), filepath.Join(d.dir, "full.db"))
}
