//go:build linux && faults

package crashtest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/strata-ci/strata/internal/fault"
)

// scenario is a command and the state in which it is given.
type scenario struct {
	name     string
	pipeline string // what the next run runs
	prepare  func(*site)
	args     []string
	settings string // what the file of settings says; empty for none
}

// scenarios are all situations in which Strata writes.
func scenarios() []scenario {
	return []scenario{
		{"first", "good", (*site).forget, runArgs("good"), ""},
		{"cached", "good", func(*site) {}, runArgs("good"), ""},
		{"edited", "good", func(s *site) { s.edit("b.txt") }, runArgs("good"), ""},
		{"edited_all", "good", func(s *site) { s.edit("a.txt"); s.edit("c.txt") }, runArgs("good"), ""},
		{"failing", "bad", func(s *site) { s.edit("a.txt") }, runArgs("bad"), ""},
		{"collecting", "good", func(s *site) { s.edit("a.txt") }, runArgs("good"), `{"cache": {"max_bytes": "16KiB", "keep_bytes": 0}, "failures": {"count": 1}}`},
		{"pruning", "good", func(*site) {}, []string{"cache", "prune"}, ""},
	}
}

// disturbed runs a scenario's command with what disturbs it in its environment.
func (s *site) disturbed(sc scenario, env ...string) outcome {
	s.Helper()
	return s.run(append(s.settings(sc), env...), sc.args...)
}

// settings returns the environment with the scenario's settings.
func (s *site) settings(sc scenario) []string {
	s.Helper()
	if sc.settings == "" {
		return nil
	}
	path := filepath.Join(filepath.Dir(s.project), "settings.json")
	if err := os.WriteFile(path, []byte(sc.settings), 0o600); err != nil {
		s.Fatal(err)
	}
	return []string{"STRATA_CONFIG=" + path}
}

// places returns the names of the places that a command comes by.
func (s *site) places(sc scenario) []string {
	s.Helper()
	sc.prepare(s)
	list := filepath.Join(filepath.Dir(s.project), "places")
	defer os.Remove(list)
	s.disturbed(sc, fault.ListVariable+"="+list)
	text, err := os.ReadFile(list)
	if err != nil {
		s.Fatal(err)
	}
	names := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(names) < 3 {
		s.Fatalf("only the places %q are marked", names)
	}
	return names
}

// TestKilledAtEveryPlace kills the process at each place that it comes by.
func TestKilledAtEveryPlace(t *testing.T) {
	for _, sc := range scenarios() {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.again(sc.pipeline, "nothing")
			names := s.places(sc)
			for n, name := range names {
				sc.prepare(s)
				o := s.disturbed(sc, fault.At(fault.Kill, n+1))
				if o.killed() {
					survived.kills.Add(1)
				}
				after := fmt.Sprintf("%s, killed at place %d of %d, about %s", sc.name, n+1, len(names), name)
				s.alone(after)
				if err := s.checkOutput(sc.pipeline, o); err != nil {
					t.Fatalf("%s: %v", after, err)
				}
				s.again(sc.pipeline, after)
				s.whole(after)
			}
		})
	}
}

// TestKilledAtAnyMoment kills processes after random times.
func TestKilledAtAnyMoment(t *testing.T) {
	start := startingSeed(t)
	const sites = 2
	for i := range sites {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(start, uint64(i)))
			s := newSite(t)
			s.again("good", "nothing")
			for range *crashes / sites {
				sc := scenarios()[random.IntN(len(scenarios()))]
				sc.prepare(s)
				after := time.Duration(random.Int64N(int64(100 * time.Millisecond)))
				o := s.killAfter(after, sc)
				what := fmt.Sprintf("%s, killed after %v", sc.name, after)
				if err := s.checkOutput(sc.pipeline, o); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				// What the dead process's children still hold for a moment, the start
				// after the next one may have to remove.
				s.rightRun(sc.pipeline, what)
				s.again(sc.pipeline, what)
				s.whole(what)
			}
		})
	}
}

// startingSeed returns the seed of random moments, and tells it.
func startingSeed(t *testing.T) uint64 {
	t.Helper()
	start := *seed
	if start == 0 {
		start = rand.Uint64()
	}
	t.Logf("-seed=%d", start)
	return start
}

// killAfter kills strata after a time, if it has not ended by then.
func (s *site) killAfter(after time.Duration, sc scenario) outcome {
	s.Helper()
	cmd := s.command(context.Background(), s.settings(sc), sc.args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	timer := time.AfterFunc(after, func() {
		if cmd.Process.Signal(syscall.SIGKILL) == nil {
			survived.kills.Add(1)
		}
	})
	defer timer.Stop()
	_ = cmd.Wait() // its end is in the process's state
	return s.outcome(cmd, sc.args, stdout.String(), stderr.String())
}
