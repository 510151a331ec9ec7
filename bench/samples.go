//go:build linux

package main

import (
	"slices"
	"time"
)

// samples is one figure, measured once a round. Two samples of one comparison
// belong together round by round.
type samples struct {
	rounds []float64
	best   float64
}

func samplesOf(rounds []float64) samples { return samples{rounds, slices.Min(rounds)} }

func (s samples) median() float64 { return median(s.rounds) }

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// join combines two samples, round by round and their bests. The best of a
// difference is that of the bests: the smallest difference of two rounds would
// be one that noise made.
func join(a, b samples, f func(a, b float64) float64) samples {
	joined := samples{rounds: make([]float64, len(a.rounds)), best: f(a.best, b.best)}
	for i := range a.rounds {
		joined.rounds[i] = f(a.rounds[i], b.rounds[i])
	}
	return joined
}

func (s samples) plus(t samples) samples {
	return join(s, t, func(a, b float64) float64 { return a + b })
}

func (s samples) minus(t samples) samples {
	return join(s, t, func(a, b float64) float64 { return a - b })
}

func (s samples) over(t samples) samples {
	return join(s, t, func(a, b float64) float64 { return a / b })
}

func (s samples) times(factor float64) samples {
	return join(s, s, func(a, _ float64) float64 { return a * factor })
}

// measure returns a figure, mostly a time in milliseconds.
type measure func() (float64, error)

// inTurn measures all of them once, unrecorded, and then in turn, once a round.
func inTurn(rounds int, measures ...measure) ([]samples, error) {
	recorded := make([][]float64, len(measures))
	for round := range 1 + rounds {
		for i, m := range measures {
			figure, err := m()
			if err != nil {
				return nil, err
			}
			if round > 0 {
				recorded[i] = append(recorded[i], figure)
			}
		}
	}
	all := make([]samples, len(measures))
	for i, rounds := range recorded {
		all[i] = samplesOf(rounds)
	}
	return all, nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
