package starlark

import (
	"fmt"
	"strconv"

	"go.starlark.net/starlark"

	"github.com/strata-ci/strata/pipeline"
)

// step is the value that sh returns.
type step struct {
	spec     pipeline.Step // without references; without a name where the author gave none
	buildsIn *step
	after    []*step
	id       int     // steps are counted in the order of their definition
	module   *module // the file that was being executed
	used     bool    // a pipeline has it
	method   *starlark.Builtin
}

var (
	_ starlark.HasAttrs = (*step)(nil)
	_ starlark.Value    = (*barrier)(nil)
	_ starlark.Value    = (*policy)(nil)
)

// title names a step in messages.
func (s *step) title() string {
	if s.spec.Name != "" {
		return s.spec.Name
	}
	return pipeline.NameFor(s.spec.Command, nil)
}

func (s *step) String() string        { return fmt.Sprintf("<step %s>", strconv.Quote(s.title())) }
func (s *step) Type() string          { return "step" }
func (s *step) Freeze()               {} // never changes after its creation
func (s *step) Truth() starlark.Bool  { return true }
func (s *step) Hash() (uint32, error) { return uint32(s.id), nil }
func (s *step) AttrNames() []string   { return []string{"name", "sh"} }

// Attr returns the method sh, or the name that the author gave: None where
// the name is made from the command, once it is known which others there are.
func (s *step) Attr(name string) (starlark.Value, error) {
	switch {
	case name == "sh":
		return s.method, nil
	case name == "name" && s.spec.Name == "":
		return starlark.None, nil
	case name == "name":
		return starlark.String(s.spec.Name), nil
	}
	return nil, starlark.NoSuchAttrError(fmt.Sprintf("a step has no attribute %q: there are .name and .sh(…)", name))
}

// barrier stands for all of its steps.
type barrier struct{ steps []*step }

func (b *barrier) String() string        { return fmt.Sprintf("<barrier of %d steps>", len(b.steps)) }
func (b *barrier) Type() string          { return "barrier" }
func (b *barrier) Freeze()               {}
func (b *barrier) Truth() starlark.Bool  { return true }
func (b *barrier) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: barrier") }

// policy is a cache policy.
type policy struct{ spec pipeline.CachePolicy }

func (p *policy) String() string        { return fmt.Sprintf("<cache policy %s>", p.spec.Kind) }
func (p *policy) Type() string          { return "cache policy" }
func (p *policy) Freeze()               {}
func (p *policy) Truth() starlark.Bool  { return true }
func (p *policy) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: cache policy") }
