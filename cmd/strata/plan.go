package main

import (
	"io"
	"strings"

	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/runner"
)

// printPlan writes what a run would do, a step a line.
func printPlan(out io.Writer, p *plan.Plan) error {
	t := table{{"STEP", "RUNNER", "STARTS FROM", "AFTER", "SNAPSHOT", "COMMAND"}}
	for _, s := range p.Steps {
		from, snapshot := "the image", "no"
		if s.Image != "" {
			from = "image " + s.Image
		}
		var after []string
		for _, d := range s.Deps {
			if d == s.Parent {
				from = "step " + p.Steps[d].Name
			} else {
				after = append(after, p.Steps[d].Name)
			}
		}
		if s.Cache.Action == runner.MissBuildAs {
			snapshot = "for its children"
		}
		command, _, cut := strings.Cut(strings.TrimSpace(s.Command.String()), "\n")
		if cut {
			command += " …"
		}
		t = append(t, []string{s.Name, s.Runner.Name(), from, dash(strings.Join(after, ", ")), snapshot, command})
	}
	return t.write(out, plainCell)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
