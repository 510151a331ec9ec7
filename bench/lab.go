//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// lab holds the programs to measure, and the places to measure them in.
type lab struct {
	ctx    context.Context
	strata string // Strata, as it is released
	bare   string // a Go program that greets, built in the same way
	task   string // go-task, "" until it is needed
	rounds int
	// accounts are those to measure as: this process's first.
	accounts []account
	// places are temporary directories: one where the machine has its files,
	// which holds the programs too, and one in memory if that is another.
	places []place
	place  place // where desks are made
}

// place is a temporary directory.
type place struct {
	dir      string
	inMemory bool
}

// fewRounds is how often to measure what takes seconds.
func (l *lab) fewRounds() int { return max(3, l.rounds/3) }

// account is a user of the machine.
type account struct {
	name       string
	credential *syscall.Credential // nil for this process's own
	overFloor  float64             // goal: what a step may cost, in floors
}

// openLab builds the programs.
func openLab(ctx context.Context, rounds int) (*lab, error) {
	l := &lab{ctx: ctx, rounds: rounds, accounts: accounts()}
	if err := errors.Join(l.addPlaces(), l.build()); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

// close removes everything.
func (l *lab) close() error {
	var errs []error
	for _, p := range l.places {
		errs = append(errs, os.RemoveAll(p.dir))
	}
	return errors.Join(errs...)
}

// addPlaces makes directories that everyone can read.
func (l *lab) addPlaces() error {
	const memory = "/dev/shm"
	parents := []string{os.TempDir()}
	if isMemory(memory) && !isMemory(os.TempDir()) {
		parents = append(parents, memory)
	}
	for _, parent := range parents {
		dir, err := os.MkdirTemp(parent, "strata-bench-")
		if err != nil {
			return err
		}
		l.places = append(l.places, place{dir, parent == memory})
		if err := os.Chmod(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

func (l *lab) build() error {
	if len(l.places) == 0 {
		return nil
	}
	dir := l.places[0].dir
	l.strata, l.bare = filepath.Join(dir, "strata"), filepath.Join(dir, "bare")
	greeting := filepath.Join(dir, "bare.go")
	source := "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(\"hello\") }\n"
	if err := os.WriteFile(greeting, []byte(source), 0o644); err != nil {
		return err
	}
	for out, what := range map[string]string{l.strata: "github.com/strata-ci/strata/cmd/strata", l.bare: greeting} {
		cmd := exec.CommandContext(l.ctx, "go", "build", "-trimpath", "-o", out, what)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", what, err, text)
		}
	}
	return nil
}

func accounts() []account {
	if os.Getuid() != 0 {
		return []account{{name: "an ordinary user", overFloor: 3.5}}
	}
	all := []account{{name: "root", overFloor: 2.5}}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		return all
	}
	uid, uidErr := strconv.ParseUint(nobody.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(nobody.Gid, 10, 32)
	if uidErr != nil || gidErr != nil {
		return all
	}
	return append(all, account{name: "an ordinary user", overFloor: 3.5, credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}})
}

// floor is the least command that gives a process namespaces of its own.
func (a account) floor() []string {
	if a.credential == nil && os.Getuid() == 0 {
		return []string{"unshare", "-m", "-p", "-f", "-i", "-u", "true"}
	}
	return []string{"unshare", "-U", "-r", "-m", "-p", "-f", "-i", "-u", "true"}
}

// desk is an account's place in the lab: a project, and a home directory with
// Strata's state.
type desk struct {
	lab     *lab
	account account
	dir     string
	project string
}

// desk returns a new one. star is the project's pipeline, "" for none.
func (l *lab) desk(a account, star string) (*desk, error) {
	dir, err := os.MkdirTemp(l.place.dir, "desk-")
	if err != nil {
		return nil, err
	}
	d := &desk{lab: l, account: a, dir: dir, project: filepath.Join(dir, "project")}
	definitions := filepath.Join(d.project, ".strata")
	if err := os.MkdirAll(definitions, 0o755); err != nil {
		return nil, err
	}
	file := filepath.Join(definitions, "bench.star")
	if err := os.WriteFile(file, []byte(star), 0o644); err != nil {
		return nil, err
	}
	if a.credential == nil {
		return d, nil
	}
	for _, path := range []string{d.dir, d.project, definitions, file} {
		if err := os.Chown(path, int(a.credential.Uid), int(a.credential.Gid)); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// command returns a command in the project, with a small environment.
func (d *desk) command(argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(d.lab.ctx, argv[0], argv[1:]...)
	cmd.Dir = d.project
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + d.dir, "STRATA_HOME=" + filepath.Join(d.dir, "state"), "TMPDIR=" + d.dir,
	}
	if d.account.credential != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: d.account.credential}
	}
	return cmd
}

// time returns a measure of one whole process, from its start to its end.
func (d *desk) time(argv ...string) measure {
	return func() (float64, error) { return d.run(d.command(argv...)) }
}

// timeMany returns a measure of n processes in a row, divided by n.
func (d *desk) timeMany(n int, argv ...string) measure {
	one := d.time(argv...)
	return func() (float64, error) {
		total := 0.0
		for range n {
			took, err := one()
			if err != nil {
				return 0, err
			}
			total += took
		}
		return total / float64(n), nil
	}
}

// run runs a command and returns its milliseconds. What it prints goes to a
// file, which no reader slows.
func (d *desk) run(cmd *exec.Cmd) (float64, error) {
	printed, err := os.Create(filepath.Join(d.dir, "printed"))
	if err != nil {
		return 0, err
	}
	defer printed.Close()
	cmd.Stderr = printed
	if cmd.Stdout == nil {
		cmd.Stdout = printed
	}
	begin := time.Now()
	err = cmd.Run()
	took := milliseconds(time.Since(begin))
	if err != nil {
		text, _ := os.ReadFile(printed.Name())
		return 0, fmt.Errorf("%s: %w\n%s", cmd, err, text)
	}
	return took, nil
}

// peakMemory runs a command and returns the most memory, in MB, that its
// process held. The kernel's own account of an ended process, ru_maxrss, would
// count the memory of this process too, from before the exec.
func peakMemory(cmd *exec.Cmd) (float64, error) {
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	status := fmt.Sprintf("/proc/%d/status", cmd.Process.Pid)
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	peak := 0.0
	for {
		select {
		case err := <-ended:
			if err != nil {
				err = fmt.Errorf("%s: %w", cmd, err)
			}
			return peak, err
		case <-ticker.C:
			var kb float64
			if _, err := fmt.Sscanf(field(status, "VmHWM"), "%f", &kb); err == nil {
				peak = kb / 1024
			}
		}
	}
}
