package runner_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/strata-ci/strata/runner"
)

// named is a runner that only has a name.
type named string

func (n named) Name() string { return string(n) }

func (named) Execute(context.Context, *runner.StepContext, runner.ExecutorInput) (runner.StepResult, error) {
	return runner.StepResult{}, nil
}

func registry(t *testing.T, names ...string) *runner.Registry {
	t.Helper()
	g := new(runner.Registry)
	for _, name := range names {
		if err := g.Register(named(name)); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

func TestRegistryFindsByName(t *testing.T) {
	g := registry(t, "vm", "container", "host")
	for _, name := range []string{"vm", "container", "host"} {
		if r, err := g.Get(name); err != nil || r.Name() != name {
			t.Errorf("Get(%q) = %v, %v", name, r, err)
		}
	}
	if names, want := g.Names(), []string{"container", "host", "vm"}; !slices.Equal(names, want) {
		t.Errorf("Names() = %q, want them in order: %q", names, want)
	}
}

func TestRegistryDefaultsToTheFirst(t *testing.T) {
	g := registry(t, "container", "host")
	if r, err := g.Get(""); err != nil || r.Name() != "container" || g.Default() != "container" {
		t.Errorf("the default is %v (%q), %v, want the first runner", r, g.Default(), err)
	}
	if err := g.SetDefault("host"); err != nil {
		t.Fatal(err)
	}
	if r, err := g.Get(""); err != nil || r.Name() != "host" || g.Default() != "host" {
		t.Errorf("after SetDefault the default is %v (%q), %v", r, g.Default(), err)
	}
	if err := g.SetDefault("moon"); err == nil || g.Default() != "host" {
		t.Errorf("SetDefault of an unknown runner: %v; the default is %q", err, g.Default())
	}
}

func TestRegistrySaysWhichRunnersExist(t *testing.T) {
	_, err := registry(t, "host", "container").Get("moon")
	if err == nil || !strings.Contains(err.Error(), `"moon"`) || !strings.Contains(err.Error(), "container, host") {
		t.Errorf("Get of an unknown runner says %v, want its name and those that exist", err)
	}
}

func TestEmptyRegistryHasNoDefault(t *testing.T) {
	g := new(runner.Registry)
	if _, err := g.Get(""); err == nil || g.Default() != "" || len(g.Names()) != 0 {
		t.Errorf("an empty registry: default %q, names %q, Get says %v", g.Default(), g.Names(), err)
	}
}

func TestRegistryRefusesNames(t *testing.T) {
	g := registry(t, "host")
	for _, name := range []string{"", "two words", "a/b", "a\tb", "line\n", "host"} {
		if err := g.Register(named(name)); err == nil {
			t.Errorf("Register(%q) is no error", name)
		}
	}
	if names := g.Names(); !slices.Equal(names, []string{"host"}) {
		t.Errorf("after refused names there are %q", names)
	}
}
