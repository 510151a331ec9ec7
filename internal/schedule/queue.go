package schedule

// queue is a heap of the steps that can start: the longest remaining path
// first, then the order of definition.
type queue struct {
	steps []int
	path  []float64 // for each step of the graph
}

func (q *queue) Len() int { return len(q.steps) }

func (q *queue) Less(i, j int) bool {
	a, b := q.steps[i], q.steps[j]
	if q.path[a] != q.path[b] {
		return q.path[a] > q.path[b]
	}
	return a < b
}

func (q *queue) Swap(i, j int) { q.steps[i], q.steps[j] = q.steps[j], q.steps[i] }

func (q *queue) Push(step any) { q.steps = append(q.steps, step.(int)) }

func (q *queue) Pop() any {
	last := len(q.steps) - 1
	step := q.steps[last]
	q.steps = q.steps[:last]
	return step
}
