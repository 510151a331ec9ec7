//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/strata-ci/strata/internal/journal"
)

// capture measures the capture of an unchanged tree of 50,000 files.
func capture(l *lab, r *report) error {
	full, err := l.desk(l.accounts[0], chained(1))
	if err != nil {
		return err
	}
	if err := full.fillAndCommit(); err != nil {
		return err
	}
	status := full.time("git", "status", "--porcelain")
	if _, err := inTurn(1, full.capture, status); err != nil { // two rounds, after which both trust their index
		return err
	}
	s, err := inTurn(l.rounds, full.capture, status)
	if err != nil {
		return err
	}
	r.add(row{
		what: "the capture of 50,000 unchanged files, in `strata run`", ours: s[0],
		peer: "`git status` of the same files", theirs: s[1], goal: ratioAtMost(1),
	})
	return nil
}

// capture is a measure of the capture of a run, as its journal has it.
func (d *desk) capture() (float64, error) {
	events, err := d.events()
	if err != nil {
		return 0, err
	}
	for _, ev := range events {
		if ev.Type == journal.CaptureFinished {
			return ev.Capture.DurationMS, nil
		}
	}
	return 0, errors.New("the run has no capture")
}

// fillAndCommit makes the project a git repository of 50,000 files.
func (d *desk) fillAndCommit() error {
	if err := fill(d.project); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"init", "-q"},
		{"add", "."},
		{"-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "-qm", "All files"},
	} {
		if _, err := d.run(d.command(append([]string{"git"}, args...)...)); err != nil {
			return err
		}
	}
	return nil
}

// fill makes 2,500 directories with 20 files each.
func fill(root string) error {
	for d := range 2500 {
		dir := filepath.Join(root, fmt.Sprintf("pkg%02d", d/50), fmt.Sprintf("part%02d", d%50))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for f := range 20 {
			text := fmt.Appendf(nil, "package p%d_%d\n", d, f)
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("file%02d.go", f)), text, 0o644); err != nil {
				return err
			}
		}
	}
	return os.WriteFile(filepath.Join(root, ".gitignore"), []byte("*.o\n*.log\n/bin/\nnode_modules/\n"), 0o644)
}
