//go:build linux && faults

package crashtest

import (
	"bytes"
	"context"
	"database/sql"
	"flag"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

var soak = flag.Duration("soak", 30*time.Second, "how long to have many processes at once")

const (
	soakProjects = 5
	soakAtOnce   = 4 // runs at once in each project
)

// TestManyAtOnce has 20 processes at once in 5 projects that share their state,
// with sources that change, so little space that results go all the time, and a
// process killed now and then.
func TestManyAtOnce(t *testing.T) {
	start := startingSeed(t)
	shared := newSite(t)
	var projects []*site
	for range soakProjects {
		p := newSiteIn(t, filepath.Join(t.TempDir(), "p"), shared.home)
		p.env = p.settings(scenario{settings: `{"cache": {"max_bytes": "100KiB", "keep_bytes": 0}, "failures": {"count": 2}}`})
		projects = append(projects, p)
	}
	end := time.Now().Add(*soak)
	var wg sync.WaitGroup
	for i, p := range projects {
		wg.Go(func() { p.soak(rand.New(rand.NewPCG(start, uint64(i))), end) })
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	hits, evictions := 0, shared.evictions()
	for _, p := range projects {
		hits += p.hits
	}
	if hits == 0 || evictions == 0 {
		t.Errorf("%d hits and %d evictions: this tests nothing", hits, evictions)
	}
	fmt.Printf("crashtest: many at once: %d hits, and the last %d results that went\n", hits, evictions)
	for _, p := range projects {
		p.alone("many at once")
		p.rightRun("good", "many at once")
	}
	projects[0].clean("many at once")
	projects[0].whole("many at once")
}

// evictions counts the results that are known to have gone for their size.
func (s *site) evictions() (n int) {
	s.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(s.home, "records.db"))
	if err != nil {
		s.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRowContext(s.Context(), `SELECT count(*) FROM tombstones WHERE rule LIKE '%max_bytes%'`).Scan(&n); err != nil {
		s.Fatal(err)
	}
	return n
}

// soak changes a source and runs a pipeline several times at once, until the end.
func (s *site) soak(random *rand.Rand, end time.Time) {
	for round := 0; time.Now().Before(end) && !s.Failed(); round++ {
		s.edit([]string{"a.txt", "b.txt", "c.txt"}[random.IntN(3)])
		name := "good"
		if random.IntN(4) == 0 {
			name = "bad"
		}
		victim := -1
		if random.IntN(3) == 0 {
			victim = random.IntN(soakAtOnce)
		}
		moment := time.Duration(random.Int64N(int64(300 * time.Millisecond)))
		var wg sync.WaitGroup
		processes := make([]process, soakAtOnce)
		for i := range soakAtOnce {
			life := patience
			if i == victim {
				life = moment
			}
			wg.Go(func() { processes[i].run(s, name, life) })
		}
		wg.Wait()
		for i := range processes {
			if err := s.judge(name, &processes[i], i == victim); err != nil {
				s.Errorf("round %d: %v", round, err)
			}
		}
	}
}

// process is one of several that run at once.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	err            error // of starting it
}

// run runs a pipeline, and kills the process when its life is over.
func (p *process) run(s *site, pipeline string, life time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), life)
	defer cancel()
	p.cmd = s.command(ctx, nil, runArgs(pipeline)...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if p.err = p.cmd.Start(); p.err == nil {
		_ = p.cmd.Wait() // its end is in the process's state
	}
}

// judge says what is wrong with how a process has ended.
func (s *site) judge(pipeline string, p *process, victim bool) error {
	if p.err != nil {
		return p.err
	}
	o := s.outcome(p.cmd, runArgs(pipeline), p.stdout.String(), p.stderr.String())
	switch {
	case victim && o.killed():
		survived.kills.Add(1)
	case o.killed():
		return fmt.Errorf("it hangs: %v", o)
	case o.code != verdict(pipeline):
		return fmt.Errorf("the verdict is wrong: %v", o)
	}
	for _, e := range o.events {
		if e.Type == "step_finished" && e.Status == "cached" {
			s.hits++
		}
	}
	return s.checkOutput(pipeline, o)
}
