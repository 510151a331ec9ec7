//go:build linux

// Command bench measures Strata against what users would pick instead, and
// against the least that the kernel allows.
//
// In: the source tree around it. Out: a Markdown page of ratios. Whatever is
// compared is measured in turn, in one run, so that other work on the machine
// slows both. It never quotes a figure that was measured elsewhere or earlier.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"time"
)

// benchmarks in the order of the page. Each adds its rows to the report.
var benchmarks = []struct {
	name string
	run  func(*lab, *report) error
	// inMemory repeats it with all files in memory, which tells what Strata
	// costs from what the disk's file system does.
	inMemory bool
}{
	{"start", start, true},
	{"step", step, true},
	{"chain", chain, true},
	{"independent", independent, true},
	{"docker", docker, false},
	{"fork", fork, false},
	{"schedule", scheduling, false},
	{"log", log, false},
	{"capture", capture, false},
	{"cached", cached, true},
	{"large", large, false},
	{"loop", loop, true},
	{"collect", collect, false},
}

func main() {
	only := flag.String("run", "", "run only the benchmarks whose names match `REGEXP`")
	rounds := flag.Int("rounds", 15, "measure everything `N` times; what takes seconds, a third as often")
	output := flag.String("o", "", "write the page to `FILE` too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *only, *rounds, *output); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only string, rounds int, output string) (err error) {
	chosen, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	if rounds < 1 {
		return fmt.Errorf("-rounds %d: at least one round is needed", rounds)
	}
	l, err := openLab(ctx, rounds)
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	defer func() { err = errors.Join(err, l.close()) }()
	r := report{
		command: strings.Join(append([]string{"go run ./bench"}, os.Args[1:]...), " "),
		date:    time.Now(), rounds: rounds, machine: thisMachine(), source: sourceVersion(ctx),
	}
	for _, p := range l.places {
		where := fileSystem(p.dir)
		r.table("Files on " + where)
		if where == withoutJournal {
			r.note("On %s every new file costs more the more files were deleted in the last minutes, by whatever program. Strata makes and deletes directories for each step; a task runner that keeps nothing does not.", where)
		}
		for _, b := range benchmarks {
			if !chosen.MatchString(b.name) || p.inMemory && !b.inMemory {
				continue
			}
			fmt.Fprintf(os.Stderr, "measuring %s in %s\n", b.name, p.dir)
			l.place = p
			if err := cmp.Or(ctx.Err(), b.run(l, &r)); err != nil {
				return fmt.Errorf("%s: %w", b.name, err)
			}
		}
	}
	page := r.markdown()
	if _, err := os.Stdout.Write(page); err != nil || output == "" {
		return err
	}
	return os.WriteFile(output, page, 0o644)
}
