package scaffold

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

const introduction = `# This is the pipeline of the project, in Starlark, a small dialect of Python.
#
#   strata run              runs it
#   strata run --dry-run    shows what would run, and why
#   strata graph            draws it
#
# sh("command") makes a step. step.sh("command") makes a step that starts from
# the files that step left behind; two of them are a fork and run side by side.
# after = [step] only waits. A step sees a copy of the project at /workspace and
# this machine's own tools, read-only; HOME is a directory of its own.
`

// more shows what else there is, at the end, where it is in nobody's way.
const more = `
# More that a step can have, all of it optional:
#
#   sh("make dist",
#      name = "dist", label = "the release archive",
#      env = {"VERSION": "1.0"}, dir = "app", timeout = "10m",
#      cache = on_change("src/**"),          # skip it while these files are the same
#      network = "none",                     # instead of the machine's network
#      cpus = 2, memory = "1GiB",
#      after = [test])
`

const hello = `
# Nothing that is known was found here (Go, Node, Python, Rust, CMake or Make),
# so this is only a beginning: put your own commands in.
hello = sh("echo hello > greeting.txt", name = "hello")

# This step starts from the files that hello left.
greet = hello.sh("cat greeting.txt", name = "greet")

pipeline("ci", hello, greet)
`

// Starlark returns the pipeline of a project: a commented file that works as it is.
func Starlark(p Project) string {
	var b strings.Builder
	b.WriteString(introduction)
	if len(p.Notes) > 0 {
		b.WriteString("\n")
	}
	for _, note := range p.Notes {
		b.WriteString("# " + note + "\n")
	}
	if len(p.Parts) == 0 {
		b.WriteString(hello)
		return b.String() + more
	}
	w := writer{out: &b, variables: make(map[string]string)}
	for _, part := range p.Parts {
		if len(p.Parts) > 1 {
			w.prefix = part.prefix()
		}
		w.part(part)
	}
	b.WriteString("\n# CI tells many tools not to ask questions and not to watch for changes.\n")
	fmt.Fprintf(&b, "pipeline(\n    \"ci\",\n    %s,\n    env = {\"CI\": \"true\"},\n)\n", strings.Join(w.order, ",\n    "))
	return b.String() + more
}

// prefix makes the names of a part's steps unique in the project.
func (p Part) prefix() string {
	language := map[string]string{"C or C++": "c"}[p.Language]
	if language == "" {
		language = strings.ToLower(p.Language)
	}
	if p.Dir == "" {
		return language + "-"
	}
	return p.Dir + "-" + language + "-"
}

// writer writes the definitions of steps.
type writer struct {
	out       *strings.Builder
	prefix    string            // of the names of the current part's steps
	variables map[string]string // by the names of steps
	order     []string          // the variables, in order
}

func (w *writer) part(p Part) {
	fmt.Fprintf(w.out, "\n# %s: there is a %s.\n", p.Language, path.Join(p.Dir, p.Evidence))
	for _, note := range p.Notes {
		w.out.WriteString("# " + note + "\n")
	}
	for _, s := range p.Steps {
		if s.Comment != "" {
			w.out.WriteString("\n# " + s.Comment + "\n")
		}
		w.step(p, s)
	}
}

func (w *writer) step(p Part, s Step) {
	call := "sh"
	if s.Parent != "" {
		call = w.variables[w.prefix+s.Parent] + ".sh"
	}
	args := []string{strconv.Quote(s.Command), "name = " + strconv.Quote(w.prefix+s.Name)}
	if p.Dir != "" {
		args = append(args, "dir = "+strconv.Quote(p.Dir))
	}
	if len(s.Changes) > 0 {
		files := make([]string, len(s.Changes))
		for i, f := range s.Changes {
			files[i] = strconv.Quote(path.Join(p.Dir, f))
		}
		args = append(args, "cache = on_change("+strings.Join(files, ", ")+")")
	}
	fmt.Fprintf(w.out, "%s = %s(", w.variable(w.prefix+s.Name), call)
	if one := strings.Join(args, ", "); len(one) <= 60 {
		fmt.Fprintf(w.out, "%s)\n", one)
		return
	}
	fmt.Fprintf(w.out, "\n    %s,\n)\n", strings.Join(args, ",\n    "))
}

// variable chooses the variable for a step, which no other step has.
func (w *writer) variable(name string) string {
	v := strings.NewReplacer("-", "_", ".", "_").Replace(name)
	if v[0] >= '0' && v[0] <= '9' {
		v = "_" + v
	}
	unique := v
	for n := 2; slices.Contains(w.order, unique); n++ {
		unique = fmt.Sprintf("%s_%d", v, n)
	}
	w.variables[name] = unique
	w.order = append(w.order, unique)
	return unique
}
