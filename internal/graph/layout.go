package graph

import (
	"cmp"
	"slices"
)

// layout places boxes in columns, from left to right, so that every edge goes to
// the right: a step's column is the length of the longest path to it. Long edges
// get a place in each column on their way, so that they pass between the boxes.
type layout struct {
	places  []place // the first ones are the steps, in order of definition
	columns [][]int // places from top to bottom
	chains  [][]int // for each edge, the places that it goes through, both ends included
}

// place is a box, or where an edge passes through a column.
type place struct {
	column      int
	height      float64
	y           float64 // of the middle
	left, right []int   // neighbours in the next columns
}

const (
	boxHeight  = 32.0
	laneHeight = 8.0  // of an edge that passes
	rowGap     = 16.0 // between the places of a column

	// maxLanes bounds the places for long edges. A graph with more is too dense
	// to follow single edges, which then go straight.
	maxLanes = 20_000
	// sweeps is how often the order and the heights are improved, there and
	// back. More than a few make no visible difference.
	sweeps = 8
)

func arrange(steps int, edges []edge) *layout {
	l := &layout{places: make([]place, steps)}
	for i, column := range columnsOf(steps, edges) {
		l.places[i] = place{column: column, height: boxHeight}
	}
	l.route(edges)
	for i := range l.places {
		for len(l.columns) <= l.places[i].column {
			l.columns = append(l.columns, nil)
		}
		l.columns[l.places[i].column] = append(l.columns[l.places[i].column], i)
	}
	l.order()
	l.settle()
	return l
}

// columnsOf returns each step's column. Where steps form a circle, which no
// valid pipeline has, the first one of it is taken as its beginning.
func columnsOf(steps int, edges []edge) []int {
	before, next := make([]int, steps), make([][]int, steps)
	for _, e := range edges {
		before[e.to]++
		next[e.from] = append(next[e.from], e.to)
	}
	columns, done := make([]int, steps), make([]bool, steps)
	var visit func(i int)
	ready := make([]int, 0, steps)
	visit = func(i int) {
		done[i] = true
		for _, to := range next[i] {
			if done[to] {
				continue
			}
			columns[to] = max(columns[to], columns[i]+1)
			if before[to]--; before[to] == 0 {
				ready = append(ready, to)
			}
		}
	}
	for i := range steps {
		if before[i] == 0 {
			ready = append(ready, i)
		}
	}
	for first := 0; ; {
		for len(ready) > 0 {
			i := ready[0]
			ready = ready[1:]
			if !done[i] {
				visit(i)
			}
		}
		for first < steps && done[first] {
			first++
		}
		if first == steps {
			return columns
		}
		ready = append(ready, first)
	}
}

// route gives each edge its chain of places.
func (l *layout) route(edges []edge) {
	lanes := 0
	for _, e := range edges {
		lanes += max(l.places[e.to].column-l.places[e.from].column-1, 0)
	}
	for _, e := range edges {
		chain := []int{e.from}
		for c := l.places[e.from].column + 1; lanes <= maxLanes && c < l.places[e.to].column; c++ {
			l.places = append(l.places, place{column: c, height: laneHeight})
			chain = append(chain, len(l.places)-1)
		}
		chain = append(chain, e.to)
		for i := range chain[1:] {
			a, b := chain[i], chain[i+1]
			l.places[a].right = append(l.places[a].right, b)
			l.places[b].left = append(l.places[b].left, a)
		}
		l.chains = append(l.chains, chain)
	}
}

// order sorts each column by where its neighbours stand, which removes most
// crossings (the barycentre method of Sugiyama, Tagawa and Toda, 1981).
func (l *layout) order() {
	rank := make([]float64, len(l.places))
	number := func(column []int) {
		for i, p := range column {
			rank[p] = float64(i)
		}
	}
	for _, column := range l.columns {
		number(column)
	}
	l.sweep(func(column []int, neighbours func(int) []int) {
		weight := make(map[int]float64, len(column))
		for _, p := range column {
			weight[p] = mean(neighbours(p), rank, rank[p])
		}
		slices.SortStableFunc(column, func(a, b int) int { return cmp.Compare(weight[a], weight[b]) })
		number(column)
	})
}

// sweep calls improve for the columns from left to right, with the neighbours on
// the left, and from right to left with those on the right; some times.
func (l *layout) sweep(improve func(column []int, neighbours func(int) []int)) {
	left := func(p int) []int { return l.places[p].left }
	right := func(p int) []int { return l.places[p].right }
	for range sweeps {
		for _, column := range l.columns {
			improve(column, left)
		}
		for _, column := range slices.Backward(l.columns) {
			improve(column, right)
		}
	}
}

// mean is the mean of values at the given places, or otherwise where there are none.
func mean(places []int, values []float64, otherwise float64) float64 {
	if len(places) == 0 {
		return otherwise
	}
	sum := 0.0
	for _, p := range places {
		sum += values[p]
	}
	return sum / float64(len(places))
}

// settle chooses the heights: each place as near to the middle of its neighbours
// as the others of its column allow. The topmost box ends up at its half height.
func (l *layout) settle() {
	y := make([]float64, len(l.places))
	for _, column := range l.columns {
		for i, p := range column {
			if i > 0 {
				y[p] = y[column[i-1]] + l.distance(column[i-1], p)
			}
		}
	}
	l.sweep(func(column []int, neighbours func(int) []int) {
		// Pushing the others down, or up, are both right, and so is the mean.
		down, up := make([]float64, len(column)), make([]float64, len(column))
		for i, p := range column {
			wish := mean(neighbours(p), y, y[p])
			down[i], up[i] = wish, wish
		}
		for i := 1; i < len(column); i++ {
			down[i] = max(down[i], down[i-1]+l.distance(column[i-1], column[i]))
		}
		for i := len(column) - 2; i >= 0; i-- {
			up[i] = min(up[i], up[i+1]-l.distance(column[i], column[i+1]))
		}
		for i, p := range column {
			y[p] = (down[i] + up[i]) / 2
		}
	})
	top := 0.0
	for i, p := range l.places {
		if edge := y[i] - p.height/2; i == 0 || edge < top {
			top = edge
		}
	}
	for i := range l.places {
		l.places[i].y = y[i] - top
	}
}

// distance is how far the middles of two neighbours in a column have to be apart.
func (l *layout) distance(a, b int) float64 {
	return (l.places[a].height+l.places[b].height)/2 + rowGap
}
