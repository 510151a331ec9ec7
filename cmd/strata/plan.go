package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/runner"
)

// printPlan writes what a run would do, a step a line.
func printPlan(out io.Writer, p *plan.Plan) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STEP\tRUNNER\tSTARTS FROM\tAFTER\tSNAPSHOT\tCOMMAND")
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
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", s.Name, s.Runner.Name(), from, dash(strings.Join(after, ", ")), snapshot, command)
	}
	return w.Flush()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
