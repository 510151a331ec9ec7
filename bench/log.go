//go:build linux

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os/exec"
	"path/filepath"
)

// log measures a step that prints 1 GB against the same command whose output
// goes to a file, and compares every byte.
func log(l *lab, r *report) error {
	const gigabyte, fraction = 1_000_000_000, 100_000_000
	large, err := l.desk(l.accounts[0], prints(gigabyte))
	if err != nil {
		return err
	}
	small, err := l.desk(l.accounts[0], prints(fraction))
	if err != nil {
		return err
	}
	run := large.printing("sh", "-c", l.strata+" run >/dev/null 2>&1")
	bare := large.printing("sh", "-c", printer(gigabyte)+` > "$HOME"/log`)
	s, err := inTurn(l.fewRounds(), run, bare)
	if err != nil {
		return err
	}
	r.add(row{
		what: fmt.Sprintf("`strata run` of a step that prints 1 GB (%s MB/s at best)", figure(gigabyte/1e3/s[0].best)), ours: s[0],
		peer: "the same command, with a file as its output", theirs: s[1], goal: atMostMilliseconds(gigabyte / 200e3),
	})
	if err := large.compareLog(); err != nil {
		return err
	}
	r.note("The log of 1 GB, as `strata logs` prints it, has the size and the SHA-256 of what the command printed.")
	peak := func(d *desk) measure {
		return func() (float64, error) { return peakMemory(d.command(l.strata, "run")) }
	}
	if s, err = inTurn(l.fewRounds(), peak(large), peak(small)); err != nil {
		return err
	}
	r.add(row{
		what: "memory at the peak of `strata run`, 1 GB printed", ours: s[0],
		peer: "the same, 100 MB printed", theirs: s[1], unit: "MB", goal: within(10, "MB"),
	})
	return nil
}

// printer is a command that prints lines, n bytes together.
func printer(n int) string {
	return fmt.Sprintf("yes 'A line of a log, as long as many lines of compilers and tests are.' | head -c %d", n)
}

func prints(n int) string {
	return fmt.Sprintf("pipeline(\"bench\", sh(%q, name = \"print\"))\n", printer(n))
}

// printing returns a measure of a command that writes much. What one round
// wrote is on the disk before the next begins.
func (d *desk) printing(argv ...string) measure {
	return func() (float64, error) {
		if err := exec.CommandContext(d.lab.ctx, "sync").Run(); err != nil {
			return 0, fmt.Errorf("sync: %w", err)
		}
		return d.time(argv...)()
	}
}

// compareLog compares the log of the last run with what the command prints.
func (d *desk) compareLog() error {
	var sums [2]string
	for i, cmd := range []*exec.Cmd{d.command(d.lab.strata, "logs", "print"), d.command("cat", filepath.Join(d.dir, "log"))} {
		hash := sha256.New()
		cmd.Stdout = hash
		if _, err := d.run(cmd); err != nil {
			return err
		}
		sums[i] = hex.EncodeToString(hash.Sum(nil))
	}
	if sums[0] != sums[1] {
		return fmt.Errorf("the log is not what the command printed: SHA-256 %s, not %s", sums[0], sums[1])
	}
	return nil
}
