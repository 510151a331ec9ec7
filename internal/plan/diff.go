package plan

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// The components of a material, as changes name them.
const (
	partVersion   = "key version"
	partRunner    = "runner"
	partArgs      = "runner_args"
	partPlatform  = "platform"
	partImage     = "image"
	partParent    = "builds_in"
	partCommand   = "command"
	partDir       = "dir"
	partEnv       = "environment"
	partNetwork   = "network"
	partCPUs      = "cpus"
	partMemory    = "memory"
	partInput     = "input"
	partWorkspace = "workspace"
	partPatterns  = "patterns"
)

// Values of changes.
const (
	added    = "added"
	removed  = "removed"
	contents = "contents"
	changed  = "changed"
)

// compare returns how now differs from before, but of inputs and the parent
// only that they do.
func compare(before, now *Material) []Change {
	var list []Change
	value := func(component, before, now string) {
		if before != now {
			list = append(list, Change{Component: component, Before: shorten(before), After: shorten(now)})
		}
	}
	value(partVersion, strconv.Itoa(before.Version), strconv.Itoa(now.Version))
	list = append(list, compareCommands(before.Command, now.Command)...)
	list = append(list, compareEnv(before.Env, now.Env)...)
	value(partDir, before.Dir, now.Dir)
	value(partRunner, before.Runner, now.Runner)
	value(partArgs, before.Args, now.Args)
	list = append(list, compareMaps(partImage, before.Image, now.Image)...)
	value(partNetwork, before.Network, now.Network)
	value(partCPUs, number(before.CPUs), number(now.CPUs))
	value(partMemory, number(float64(before.Memory)), number(float64(now.Memory)))
	value(partPlatform, before.Platform, now.Platform)
	if before.Inputs != now.Inputs || before.AllInputs != now.AllInputs {
		component := partInput
		if before.AllInputs || now.AllInputs {
			component = partWorkspace
		}
		list = append(list, Change{Component: component})
		if !slices.Equal(before.Patterns, now.Patterns) {
			value(partPatterns, strings.Join(before.Patterns, " "), strings.Join(now.Patterns, " "))
		}
	}
	if before.Parent != now.Parent {
		list = append(list, Change{Component: partParent})
	}
	return list
}

// distance is the number of components in which two materials differ.
func distance(a, b *Material) int {
	parts := map[string]bool{}
	for _, c := range compare(a, b) {
		parts[c.Component] = true
	}
	return len(parts)
}

// number is empty for zero, which is no limit.
func number(f float64) string {
	if f == 0 {
		return ""
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// shorten cuts what nobody reads on one line.
func shorten(s string) string {
	const enough = 120
	if len(s) <= enough {
		return s
	}
	return strings.ToValidUTF8(s[:enough], "") + "…"
}

// compareMaps compares parts that have names.
func compareMaps(component string, before, now map[string]string) []Change {
	var list []Change
	names := maps.Clone(before)
	if names == nil {
		names = map[string]string{}
	}
	maps.Copy(names, now)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		was, had := before[name]
		is, has := now[name]
		if had != has || was != is {
			list = append(list, Change{Component: component, Name: name, Before: shorten(was), After: shorten(is)})
		}
	}
	return list
}

// compareEnv compares variables, of which only the names are for people.
func compareEnv(before, now []string) []Change {
	list := compareMaps(partEnv, variables(before), variables(now))
	for i := range list {
		switch c := &list[i]; {
		case c.Before == "":
			c.After = added
		case c.After == "":
			c.Before, c.After = "", removed
		default:
			c.Before, c.After = "", changed
		}
	}
	return list
}

func variables(env []string) map[string]string {
	all := make(map[string]string, len(env))
	for _, variable := range env {
		name, digest, _ := strings.Cut(variable, "=")
		all[name] = digest
	}
	return all
}

// compareCommands finds the words of a command that differ.
func compareCommands(before, now []string) []Change {
	if slices.Equal(before, now) {
		return nil
	}
	was, wasShell := words(before)
	is, isShell := words(now)
	change := func(name string, was, is []string) Change {
		return Change{Component: partCommand, Name: name, Before: shorten(strings.Join(was, " ")), After: shorten(strings.Join(is, " "))}
	}
	switch {
	case wasShell != isShell:
		return []Change{change("", before, now)}
	case slices.Equal(was, is):
		return []Change{change("white space", nil, nil)}
	}
	if len(was) == len(is) {
		var list []Change
		for i := range was {
			if was[i] != is[i] {
				list = append(list, change(fmt.Sprintf("word %d", i+1), was[i:i+1], is[i:i+1]))
			}
		}
		return list
	}
	head := 0
	for head < min(len(was), len(is)) && was[head] == is[head] {
		head++
	}
	tail := 0
	for tail < min(len(was), len(is))-head && was[len(was)-1-tail] == is[len(is)-1-tail] {
		tail++
	}
	return []Change{change(fmt.Sprintf("word %d", head+1), was[head:len(was)-tail], is[head:len(is)-tail])}
}

// words returns what people see as the words of a command: of a shell command,
// those of its script.
func words(argv []string) (list []string, shell bool) {
	if len(argv) == 4 && slices.Equal(argv[:3], []string{"sh", "-e", "-c"}) {
		return strings.Fields(argv[3]), true
	}
	return argv, false
}

// compareInputs compares two lists of inputs.
func compareInputs(before, now []Input) []Change {
	was := make(map[string]Input, len(before))
	for _, in := range before {
		was[in.Path] = in
	}
	var list []Change
	change := func(path, before, after string) {
		list = append(list, Change{Component: partInput, Name: path, Before: before, After: after})
	}
	for _, in := range now {
		old, had := was[in.Path]
		delete(was, in.Path)
		switch {
		case !had:
			change(in.Path, "", added)
		case old.Mode != in.Mode:
			change(in.Path, modeText(old.Mode), modeText(in.Mode))
		case old.Digest != in.Digest:
			change(in.Path, "", contents)
		}
	}
	for path := range was {
		change(path, "", removed)
	}
	// What changed says more than what came, and that more than what went.
	rank := map[string]int{added: 1, removed: 2}
	slices.SortFunc(list, func(a, b Change) int {
		return cmp.Or(cmp.Compare(rank[a.After], rank[b.After]), cmp.Compare(a.Name, b.Name))
	})
	return list
}

// modeText returns a mode as people write it.
func modeText(mode uint32) string {
	switch mode & typeMask {
	case typeDir:
		return fmt.Sprintf("directory %04o", mode&^typeMask)
	case typeLink:
		return "symbolic link"
	}
	return fmt.Sprintf("file %04o", mode&^typeMask)
}

// changes returns how a step differs from an earlier result: its own
// components, and why the step that it builds in differs.
func (d *decider) changes(ctx context.Context, s *Step, before *Material) ([]Change, error) {
	var list []Change
	for _, c := range compare(before, s.Material) {
		more := []Change{c}
		switch c.Component {
		case partInput:
			inputs, err := d.inputChanges(ctx, s, before)
			if err != nil {
				return nil, err
			}
			if len(inputs) > 0 {
				more = inputs
			}
		case partParent:
			if s.Parent < 0 {
				break
			}
			cause, err := d.cause(ctx, s.Parent, before.Parent)
			if err != nil {
				return nil, err
			}
			more[0].Name = d.plan.Steps[s.Parent].Name
			more = append(more, cause...)
		}
		list = append(list, more...)
	}
	return list, nil
}

// inputChanges compares a step's inputs with those of an earlier result; nil
// where those are not known any more.
func (d *decider) inputChanges(ctx context.Context, s *Step, before *Material) ([]Change, error) {
	id := inputsID{before.Inputs, s.Material.Inputs}
	if known, ok := d.compared[id]; ok {
		return known, nil
	}
	var was, is []Input
	if !before.Inputs.IsZero() {
		list, err := d.facts.Past.Inputs(ctx, before.Inputs)
		if err != nil || list == nil {
			return nil, err
		}
		was = list
	}
	if s.Listed != nil {
		is = s.Listed()
	}
	d.compared[id] = compareInputs(was, is)
	return d.compared[id], nil
}

// inputsID names two lists of inputs.
type inputsID struct{ before, now Digest }

// causeID names a step and the key that it had.
type causeID struct {
	step int
	key  Key
}

// maxCauses bounds how many causes go down a chain of steps.
const maxCauses = 2 * MaxChanges

// cause returns why a step has not the key any more that it once had; nil if
// nothing is known of that result. Of a chain of steps it has those that
// changed by themselves.
func (d *decider) cause(ctx context.Context, step int, key Key) ([]Change, error) {
	id := causeID{step, key}
	if known, ok := d.causes[id]; ok || key.IsZero() {
		return known, nil
	}
	s := &d.plan.Steps[step]
	list, err := d.results(ctx, s)
	if err != nil {
		return nil, err
	}
	var found []Change
	for i := range list {
		if m := &list[i].Material; m.Key() == key {
			if found, err = d.changes(ctx, s, m); err != nil {
				return nil, err
			}
			break
		}
	}
	found = ownCauses(found, s.Name)
	d.causes[id] = found
	return found, nil
}

// ownCauses names the step in its own changes, and leaves out that the step it
// builds in changed where that is explained.
func ownCauses(list []Change, step string) []Change {
	explained := slices.ContainsFunc(list, func(c Change) bool { return c.Step != "" })
	var found []Change
	for _, c := range list {
		if c.Component == partParent && c.Step == "" && explained {
			continue
		}
		if c.Step == "" {
			c.Step = step
		}
		found = append(found, c)
	}
	return found[:min(len(found), maxCauses)]
}
