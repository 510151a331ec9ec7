package render

// node is a step with its place in the tree: a step stands below the one whose
// snapshot it builds in, at a depth that is one more.
type node struct {
	*step
	depth int
}

// tree returns the steps in the order in which they are shown: in order of
// definition, each followed by those that build in it. Steps that only depend on
// others are at the root.
func tree(steps []*step) []node {
	known := make(map[string]bool, len(steps))
	for _, s := range steps {
		known[s.Name] = true
	}
	children := make(map[string][]*step)
	for _, s := range steps {
		parent := s.BuildsIn
		if !known[parent] {
			parent = ""
		}
		children[parent] = append(children[parent], s)
	}
	nodes := descend(nil, children, "", 0)
	if len(nodes) < len(steps) { // a circle: no pipeline has one, a damaged journal may
		nodes = nodes[:0]
		for _, s := range steps {
			nodes = append(nodes, node{s, 0})
		}
	}
	return nodes
}

func descend(nodes []node, children map[string][]*step, parent string, depth int) []node {
	for _, s := range children[parent] {
		nodes = append(nodes, node{s, depth})
		if s.Name != "" {
			nodes = descend(nodes, children, s.Name, depth+1)
		}
	}
	return nodes
}
