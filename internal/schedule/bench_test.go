package schedule_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/strata-ci/strata/internal/schedule"
)

// runAll runs a graph in which every failEvery-th step that ends fails, none
// for 0, and returns all actions. Steps end in the order in which they started.
func runAll(t testing.TB, steps []schedule.Step, opts schedule.Options, failEvery int) []schedule.Action {
	s := newState(t, steps, opts)
	all := append([]schedule.Action(nil), s.Start()...)
	ended := 0
	for i := 0; i < len(all); i++ {
		if all[i].Kind != schedule.Start {
			continue
		}
		ended++
		outcome := schedule.Passed
		if failEvery > 0 && ended%failEvery == 0 {
			outcome = schedule.Failed
		}
		all = append(all, s.Finished(all[i].Step, outcome)...)
	}
	if !s.Done() {
		t.Fatal("nothing runs and the run is not done")
	}
	return all
}

func chain(n int) []schedule.Step {
	steps := make([]schedule.Step, n)
	for i := 1; i < n; i++ {
		steps[i].Deps = []int{i - 1}
	}
	return steps
}

func fan(n int) []schedule.Step {
	steps := make([]schedule.Step, n)
	for i := 1; i < n-1; i++ {
		steps[i].Deps = []int{0}
		steps[n-1].Deps = append(steps[n-1].Deps, i)
	}
	return steps
}

func randomGraph(n int) []schedule.Step {
	random := rand.New(rand.NewPCG(1, 2))
	steps := make([]schedule.Step, n)
	for i := range steps {
		steps[i].Weight = random.Float64()
		for range min(i, random.IntN(5)) {
			steps[i].Deps = append(steps[i].Deps, random.IntN(i))
		}
	}
	return steps
}

// grid is layers of 100 steps, each of which depends on ten of the layer before.
func grid(n int) []schedule.Step {
	steps := make([]schedule.Step, n)
	for i := 100; i < n; i++ {
		layer := i - i%100 - 100
		for j := range 10 {
			steps[i].Deps = append(steps[i].Deps, layer+(i+j*7)%100)
		}
	}
	return steps
}

func BenchmarkRun(b *testing.B) {
	shapes := []struct {
		name string
		make func(int) []schedule.Step
	}{{"chain", chain}, {"fan", fan}, {"random", randomGraph}, {"grid", grid}}
	for _, shape := range shapes {
		for _, n := range []int{1_000, 10_000, 100_000} {
			steps := shape.make(n)
			b.Run(fmt.Sprintf("%s/%d", shape.name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					runAll(b, steps, schedule.Options{Jobs: 8}, 0)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/step")
			})
		}
	}
}

// BenchmarkFail measures the skipping of 100,000 steps, at once and in many parts.
func BenchmarkFail(b *testing.B) {
	for name, steps := range map[string][]schedule.Step{"chain": chain(100_000), "grid": grid(100_000), "random": randomGraph(100_000)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				runAll(b, steps, schedule.Options{Jobs: 8, KeepGoing: true}, 10)
			}
		})
	}
}
