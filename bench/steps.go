//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// taskVersion is the release of go-task to compare with.
const taskVersion = "v3.54.0"

// chained is a pipeline of n steps, each of which builds in the one before.
func chained(n int) string {
	var b strings.Builder
	b.WriteString("s0 = sh(\"true\", name = \"s0\")\n")
	for i := 1; i < n; i++ {
		fmt.Fprintf(&b, "s%d = s%d.sh(\"true\", name = \"s%d\")\n", i, i-1, i)
	}
	fmt.Fprintf(&b, "pipeline(\"bench\", s%d)\n", n-1)
	return b.String()
}

// separate is a pipeline of n steps that have nothing to do with each other.
func separate(n int) string {
	return fmt.Sprintf("pipeline(\"bench\", [sh(\"true\", name = \"s%%d\" %% i) for i in range(%d)])\n", n)
}

// start measures how soon the program is there, and one step, all included.
func start(l *lab, r *report) error {
	d, err := l.desk(l.accounts[0], chained(1))
	if err != nil {
		return err
	}
	s, err := inTurn(l.rounds,
		d.timeMany(5, l.strata, "version"), d.timeMany(5, l.bare), d.timeMany(5, d.account.floor()...), d.time(l.strata, "run"))
	if err != nil {
		return err
	}
	version, bare, floor, one := s[0], s[1], s[2], s[3]
	r.add(row{what: "`strata version`", ours: version, peer: "a bare Go program", theirs: bare, goal: within(15, "ms")})
	r.add(row{
		what: "`strata run` of one `true` step", ours: one,
		peer: "a bare Go program and `" + strings.Join(d.account.floor(), " ") + "`", theirs: bare.plus(floor), goal: within(50, "ms"),
	})
	return nil
}

// step measures what each step of a chain costs: fork, sandbox, `true`,
// commit and journal.
func step(l *lab, r *report) error {
	for _, a := range l.accounts {
		if err := stepAs(l, r, a); err != nil {
			return fmt.Errorf("as %s: %w", a.name, err)
		}
	}
	if len(l.accounts) == 1 {
		r.note("Measured as %s only.", l.accounts[0].name)
	}
	return nil
}

func stepAs(l *lab, r *report, a account) error {
	many, err := l.desk(a, chained(20))
	if err != nil {
		return err
	}
	one, err := l.desk(a, chained(1))
	if err != nil {
		return err
	}
	s, err := inTurn(l.rounds, many.time(l.strata, "run"), many.timeMany(20, a.floor()...), one.time(l.strata, "run"))
	if err != nil {
		return err
	}
	perStep := s[0].minus(s[2]).times(1.0 / 19)
	r.add(row{
		what: "a step in a chain of 20, as " + a.name + ": (20 steps - 1 step) / 19", ours: perStep,
		peer: "`" + strings.Join(a.floor(), " ") + "`", theirs: s[1], goal: ratioAtMost(a.overFloor),
	})
	return nil
}

// chain and independent measure whole processes against a task runner that
// isolates nothing and keeps nothing.
func chain(l *lab, r *report) error {
	cmds := strings.Repeat("      - sh -c true\n", 20)
	return againstTask(l, r, row{
		what: "`strata run`: 20 steps in a chain", peer: "go-task: 20 × `sh -c true` in a row", goal: ratioAtMost(1),
	}, chained(20), "version: '3'\ntasks:\n  default:\n    cmds:\n"+cmds)
}

func independent(l *lab, r *report) error {
	var deps, tasks strings.Builder
	for i := range 20 {
		fmt.Fprintf(&deps, "      - t%d\n", i)
		fmt.Fprintf(&tasks, "  t%d:\n    cmds:\n      - sh -c true\n", i)
	}
	return againstTask(l, r, row{
		what: "`strata run`: 20 independent steps", peer: "go-task: 20 dependencies, each `sh -c true`", goal: atMostMilliseconds(250),
	}, separate(20), "version: '3'\ntasks:\n  default:\n    deps:\n"+deps.String()+tasks.String())
}

func againstTask(l *lab, r *report, w row, star, taskfile string) error {
	if err := l.installTask(); err != nil {
		r.note("Not compared with go-task: %v", err)
		return nil
	}
	d, err := l.desk(l.accounts[0], star)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(d.project, "Taskfile.yml"), []byte(taskfile), 0o644); err != nil {
		return err
	}
	s, err := inTurn(l.rounds, d.time(l.strata, "run"), d.time(l.task, "-s"))
	if err != nil {
		return err
	}
	w.ours, w.theirs = s[0], s[1]
	r.add(w)
	return nil
}

func (l *lab) installTask() error {
	if l.task != "" {
		return nil
	}
	dir := l.places[0].dir
	cmd := exec.CommandContext(l.ctx, "go", "install", "github.com/go-task/task/v3/cmd/task@"+taskVersion)
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd, err, text)
	}
	l.task = filepath.Join(dir, "task")
	return nil
}
