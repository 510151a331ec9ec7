package runner

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Registry maps names to runners, with one default. The zero value is empty.
type Registry struct {
	runners     map[string]StepRunner
	defaultName string
}

// Register adds r. The first runner is the default until SetDefault.
// A name that is taken or malformed is an error.
func (g *Registry) Register(r StepRunner) error {
	name := r.Name()
	if name == "" || strings.ContainsAny(name, " \t\n/") {
		return fmt.Errorf("register runner %q: a runner's name is one word", name)
	}
	if _, taken := g.runners[name]; taken {
		return fmt.Errorf("register runner %q: the name is taken", name)
	}
	if g.runners == nil {
		g.runners = make(map[string]StepRunner)
		g.defaultName = name
	}
	g.runners[name] = r
	return nil
}

// SetDefault makes a registered runner the one for steps that name none.
func (g *Registry) SetDefault(name string) error {
	if _, err := g.Get(name); err != nil {
		return err
	}
	g.defaultName = name
	return nil
}

// Default returns the name of the default runner, empty for an empty registry.
func (g *Registry) Default() string { return g.defaultName }

// Get returns the runner with that name, the default for the empty name.
func (g *Registry) Get(name string) (StepRunner, error) {
	if name == "" {
		name = g.defaultName
	}
	r, ok := g.runners[name]
	if !ok {
		return nil, fmt.Errorf("unknown runner %q: there are %s", name, strings.Join(g.Names(), ", "))
	}
	return r, nil
}

// Names returns the registered names in order.
func (g *Registry) Names() []string { return slices.Sorted(maps.Keys(g.runners)) }
