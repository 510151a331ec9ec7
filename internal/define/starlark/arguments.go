package starlark

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"github.com/strata-ci/strata/internal/suggest"
	"github.com/strata-ci/strata/pipeline"
)

// argumentError is an error of one argument of a call.
type argumentError struct{ function, argument, message string }

func (e *argumentError) Error() string { return e.function + ": " + e.message }

// arguments are the arguments of one call by name, without those that are
// None. Its getters return zero after the first error, which err keeps.
type arguments struct {
	function string
	values   map[string]starlark.Value
	err      error
}

// bind gives positional arguments their names, of which the first ones of
// params can be positional, and checks the names of the others.
func bind(function string, args starlark.Tuple, kwargs []starlark.Tuple, positional int, params ...string) *arguments {
	a := &arguments{function: function, values: make(map[string]starlark.Value)}
	if len(args) > positional {
		a.err = fmt.Errorf("%s: got %d positional arguments, want at most %d: name the others, as in %s = …",
			function, len(args), positional, params[min(positional, len(params)-1)])
		return a
	}
	for i, v := range args {
		a.values[params[i]] = v
	}
	for _, pair := range kwargs {
		name := string(pair[0].(starlark.String))
		if !slices.Contains(params, name) {
			a.fail(name, "unexpected keyword argument %q%s", name, suggest.Hint(name, params))
			return a
		}
		if _, twice := a.values[name]; twice {
			a.fail(name, "the argument %q is given twice", name)
			return a
		}
		a.values[name] = pair[1]
	}
	for name, v := range a.values {
		if v == starlark.None {
			delete(a.values, name)
		}
	}
	return a
}

func (a *arguments) fail(argument, format string, args ...any) {
	if a.err == nil {
		a.err = &argumentError{a.function, argument, fmt.Sprintf(format, args...)}
	}
}

// get returns an argument, nil if there is none or an earlier one was wrong.
func (a *arguments) get(name string) starlark.Value {
	if a.err != nil {
		return nil
	}
	return a.values[name]
}

// wrong says that an argument, or what of it `part` names, is of the wrong type.
func (a *arguments) wrong(name, part, want string, got starlark.Value) {
	a.fail(name, "%sargument %q must be %s, not %s", part, name, want, describe(got))
}

// describe names a value's type, and the value where it is short.
func describe(v starlark.Value) string {
	switch v := v.(type) {
	case starlark.NoneType:
		return "None"
	case starlark.String:
		if len(v) <= 40 {
			return "the string " + v.String()
		}
	case starlark.Int, starlark.Float, starlark.Bool:
		if s := v.String(); len(s) <= 40 {
			return "the " + v.Type() + " " + s
		}
	}
	return v.Type()
}

func (a *arguments) text(name string) string {
	v := a.get(name)
	if v == nil {
		return ""
	}
	s, ok := starlark.AsString(v)
	if !ok {
		a.wrong(name, "", "a string", v)
	}
	return s
}

func (a *arguments) texts(name string) []string {
	v := a.get(name)
	if v == nil {
		return nil
	}
	list, ok := elements(v)
	if !ok {
		a.wrong(name, "", "a list of strings", v)
	}
	var out []string
	for i, e := range list {
		s, ok := starlark.AsString(e)
		if !ok {
			a.wrong(name, fmt.Sprintf("element %d of ", i), "a string", e)
			return nil
		}
		out = append(out, s)
	}
	return out
}

// elements returns the elements of a list or a tuple.
func elements(v starlark.Value) ([]starlark.Value, bool) {
	switch v := v.(type) {
	case *starlark.List:
		out := make([]starlark.Value, v.Len())
		for i := range out {
			out[i] = v.Index(i)
		}
		return out, true
	case starlark.Tuple:
		return v, true
	}
	return nil, false
}

func (a *arguments) command(name string) pipeline.Command {
	switch v := a.get(name).(type) {
	case nil:
		if a.err == nil {
			a.fail(name, "the argument %q is missing: say what the step is to run", name)
		}
	case starlark.String:
		return pipeline.Command{Shell: string(v)}
	case *starlark.List, starlark.Tuple:
		c := pipeline.Command{Args: a.texts(name)}
		if a.err == nil && len(c.Args) == 0 {
			a.fail(name, "the argument %q is an empty list: it must name a program", name)
		}
		return c
	default:
		a.wrong(name, "", "a string or a list of strings", v)
	}
	return pipeline.Command{}
}

func (a *arguments) env(name string) map[string]string {
	v := a.get(name)
	if v == nil {
		return nil
	}
	dict, ok := v.(*starlark.Dict)
	if !ok {
		a.wrong(name, "", "a dict of strings", v)
		return nil
	}
	if dict.Len() == 0 {
		return nil
	}
	env := make(map[string]string, dict.Len())
	for _, item := range dict.Items() {
		key, ok := starlark.AsString(item[0])
		if !ok {
			a.wrong(name, "a key of ", "a string", item[0])
			return nil
		}
		value, ok := starlark.AsString(item[1])
		if !ok {
			a.wrong(name, fmt.Sprintf("the value of %q in ", key), "a string", item[1])
			return nil
		}
		env[key] = value
	}
	return env
}

func (a *arguments) duration(name string) pipeline.Duration {
	v := a.get(name)
	if v == nil {
		return 0
	}
	s, ok := starlark.AsString(v)
	if !ok {
		a.wrong(name, "", `a duration such as "10m"`, v)
		return 0
	}
	d, err := pipeline.ParseDuration(s)
	if err != nil {
		a.fail(name, "argument %q: %v", name, err)
	}
	return d
}

// resources returns nil where neither argument is given.
func (a *arguments) resources(cpus, memory string) *pipeline.Resources {
	r := pipeline.Resources{CPUs: a.number(cpus), Memory: a.bytes(memory)}
	if r == (pipeline.Resources{}) {
		return nil
	}
	return &r
}

func (a *arguments) number(name string) float64 {
	v := a.get(name)
	if v == nil {
		return 0
	}
	f, ok := starlark.AsFloat(v)
	switch {
	case !ok:
		a.wrong(name, "", "a number", v)
	case !(f > 0): // NaN too
		a.fail(name, "argument %q must be greater than zero: leave it out for no limit", name)
	}
	return f
}

func (a *arguments) retries(name string) int {
	v := a.get(name)
	if v == nil {
		return 0
	}
	if i, ok := v.(starlark.Int); ok {
		if n, ok := i.Int64(); ok && n >= 0 && n <= pipeline.MaxRetries {
			return int(n)
		}
	}
	a.wrong(name, "", fmt.Sprintf("a whole number from 0 to %d", pipeline.MaxRetries), v)
	return 0
}

func (a *arguments) bytes(name string) pipeline.Bytes {
	switch v := a.get(name).(type) {
	case nil:
	case starlark.Int:
		if n, ok := v.Int64(); ok && n > 0 {
			return pipeline.Bytes(n)
		}
		a.fail(name, "argument %q must be greater than zero and below 2^63: leave it out for no limit", name)
	case starlark.String:
		b, err := pipeline.ParseBytes(string(v))
		if err != nil {
			a.fail(name, "argument %q: %v", name, err)
		}
		return b
	default:
		a.wrong(name, "", `an amount of bytes such as "2GiB"`, v)
	}
	return 0
}

// cache returns nil for the policy none, as the IR does.
func (a *arguments) cache(name string) *pipeline.CachePolicy {
	v := a.get(name)
	if v == nil {
		return nil
	}
	list, ok := elements(v)
	if !ok {
		list = []starlark.Value{v}
	}
	p := a.policies(name, list)
	if p == nil || p.Kind == pipeline.CacheNone {
		return nil
	}
	return p
}

// policies combines policies; a combination among them is dissolved.
func (a *arguments) policies(name string, list []starlark.Value) *pipeline.CachePolicy {
	var all []pipeline.CachePolicy
	for _, v := range list {
		p, ok := v.(*policy)
		if !ok {
			a.wrong(name, "", "a cache policy such as forever(), or a list of them", v)
			return nil
		}
		if p.spec.Kind == pipeline.CacheAll {
			all = append(all, p.spec.All...)
		} else {
			all = append(all, p.spec)
		}
	}
	switch len(all) {
	case 0:
		a.fail(name, "argument %q is an empty list: give at least one cache policy", name)
		return nil
	case 1:
		return &all[0]
	}
	return &pipeline.CachePolicy{Kind: pipeline.CacheAll, All: all}
}

// steps flattens steps, barriers and lists of them, each step once.
func (a *arguments) steps(name string) []*step {
	v := a.get(name)
	if v == nil {
		return nil
	}
	return a.flatten(name, v)
}

func (a *arguments) flatten(name string, v starlark.Value) []*step {
	var steps []*step
	seen := make(map[*step]bool)
	add := func(more ...*step) {
		for _, s := range more {
			if !seen[s] {
				seen[s] = true
				steps = append(steps, s)
			}
		}
	}
	const depth = 16
	var walk func(v starlark.Value, depth int)
	walk = func(v starlark.Value, depth int) {
		switch v := v.(type) {
		case *step:
			add(v)
		case *barrier:
			add(v.steps...)
		default:
			list, ok := elements(v)
			switch {
			case !ok:
				a.wrong(name, "", "steps, barriers or lists of them", v)
			case depth == 0:
				a.fail(name, "argument %q: lists are nested too deep", name)
			}
			for _, e := range list {
				if a.err != nil {
					return
				}
				walk(e, depth-1)
			}
		}
	}
	walk(v, depth)
	return steps
}

// json turns a dict into JSON with sorted keys.
func (a *arguments) json(name string) json.RawMessage {
	v := a.get(name)
	if v == nil {
		return nil
	}
	if _, ok := v.(*starlark.Dict); !ok {
		a.wrong(name, "", "a dict", v)
		return nil
	}
	budget := 100_000
	plain, err := plainValue(v, 32, &budget)
	if err != nil {
		a.fail(name, "argument %q %v", name, err)
		return nil
	}
	var out strings.Builder
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(plain); err != nil {
		a.fail(name, "argument %q: %v", name, err)
		return nil
	}
	return json.RawMessage(strings.TrimSuffix(out.String(), "\n"))
}

// plainValue returns a value as encoding/json takes it. The budget counts
// values: a small value that holds itself many times is large in JSON.
func plainValue(v starlark.Value, depth int, budget *int) (any, error) {
	if *budget--; depth == 0 || *budget < 0 {
		return nil, fmt.Errorf("is nested too deep or too large")
	}
	switch v := v.(type) {
	case starlark.NoneType:
		return nil, nil
	case starlark.Bool:
		return bool(v), nil
	case starlark.Int:
		return json.Number(v.String()), nil
	case starlark.Float:
		return float64(v), nil
	case starlark.String:
		return string(v), nil
	case *starlark.Dict:
		out := make(map[string]any, v.Len())
		for _, item := range v.Items() {
			key, ok := starlark.AsString(item[0])
			if !ok {
				return nil, fmt.Errorf("has a key that is not a string but %s", describe(item[0]))
			}
			value, err := plainValue(item[1], depth-1, budget)
			if err != nil {
				return nil, err
			}
			out[key] = value
		}
		return out, nil
	}
	list, ok := elements(v)
	if !ok {
		return nil, fmt.Errorf("holds a %s, which JSON cannot say", v.Type())
	}
	out := make([]any, len(list))
	for i, e := range list {
		var err error
		if out[i], err = plainValue(e, depth-1, budget); err != nil {
			return nil, err
		}
	}
	return out, nil
}
