//go:build linux

package main

import (
	"fmt"
	"time"

	"github.com/strata-ci/strata/internal/schedule"
)

// scheduling measures the scheduler alone, with steps that end at once.
func scheduling(l *lab, r *report) error {
	shapes := []struct {
		name  string
		steps func(n int) []schedule.Step
	}{{"in a chain", line}, {"with ten dependencies each", layers}}
	for _, shape := range shapes {
		s, err := inTurn(l.rounds, schedules(shape.steps(100_000)), schedules(shape.steps(10_000)), schedules(shape.steps(1_000)))
		if err != nil {
			return err
		}
		r.add(row{
			what: "100,000 steps scheduled, " + shape.name, ours: s[0],
			peer: "10 times 10,000 steps", theirs: s[1].times(10), goal: atMostMilliseconds(500),
		})
		r.add(row{
			what: "10,000 steps scheduled, " + shape.name, ours: s[1], peer: "10 times 1,000 steps", theirs: s[2].times(10),
		})
	}
	return nil
}

// schedules returns a measure of a whole run of the scheduler.
func schedules(steps []schedule.Step) measure {
	return func() (float64, error) {
		begin := time.Now()
		state, err := schedule.New(steps, schedule.Options{Jobs: 8})
		if err != nil {
			return 0, err
		}
		running := starts(nil, state.Start())
		for len(running) > 0 {
			ended := running[0]
			running = starts(running[1:], state.Finished(ended, schedule.Passed))
		}
		if !state.Done() {
			return 0, fmt.Errorf("the scheduler forgot some of %d steps", len(steps))
		}
		return milliseconds(time.Since(begin)), nil
	}
}

func starts(running []int, actions []schedule.Action) []int {
	for _, a := range actions {
		if a.Kind == schedule.Start {
			running = append(running, a.Step)
		}
	}
	return running
}

func line(n int) []schedule.Step {
	steps := make([]schedule.Step, n)
	for i := 1; i < n; i++ {
		steps[i].Deps = []int{i - 1}
	}
	return steps
}

// layers is layers of 100 steps, each of which depends on ten of the one before.
func layers(n int) []schedule.Step {
	steps := make([]schedule.Step, n)
	for i := 100; i < n; i++ {
		before := i - i%100 - 100
		for j := range 10 {
			steps[i].Deps = append(steps[i].Deps, before+(i+7*j)%100)
		}
	}
	return steps
}
