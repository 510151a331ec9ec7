package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/strata-ci/strata/internal/engine"
	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/internal/plan"
	"github.com/strata-ci/strata/internal/render"
)

// plannedStep is a step of a plan, as `strata run --dry-run --format json` prints it.
type plannedStep struct {
	journal.Decision
	Hit       bool     `json:"hit"`
	Runner    string   `json:"runner"`
	BuildsIn  string   `json:"builds_in,omitempty"`
	DependsOn []string `json:"depends_on,omitempty"`
}

func plannedSteps(p *plan.Plan) []plannedStep {
	steps := make([]plannedStep, len(p.Steps))
	for i := range p.Steps {
		s := &p.Steps[i]
		steps[i] = plannedStep{
			Decision: engine.Decision(s), Hit: s.Decision.Hit(), Runner: s.Runner.Name(), BuildsIn: s.BuildsIn, DependsOn: s.DependsOn,
		}
	}
	return steps
}

// printPlan writes what a run would do, a step a line.
func printPlan(a *app, p *plan.Plan, asJSON bool) error {
	steps := plannedSteps(p)
	if asJSON {
		return writeJSON(a.stdout, steps)
	}
	t := table{{"STEP", "PLAN", "TIME", "RUNNER", "STARTS FROM", "AFTER", "WHY"}}
	hits := 0
	expected := 0.0
	for i, s := range steps {
		does, took := "run", "-"
		if s.Hit {
			does = "cached"
			hits++
		} else {
			expected += s.ExpectedMS
		}
		if s.ExpectedMS > 0 {
			took = render.Milliseconds(s.ExpectedMS)
		}
		t = append(t, []string{s.Step, does, took, s.Runner, startsFrom(&p.Steps[i]), after(s), s.Message})
	}
	if err := t.write(a.stdout, plainCell); err != nil {
		return err
	}
	text := fmt.Sprintf("%d of %s would run", len(steps)-hits, render.Count(len(steps), "step"))
	if expected > 0 {
		text += fmt.Sprintf("; lately they took %s one after another", render.Duration(time.Duration(expected*float64(time.Millisecond))))
	}
	_, err := fmt.Fprintln(a.stdout, text)
	return err
}

func startsFrom(s *plan.Step) string {
	switch {
	case s.BuildsIn != "":
		return "step " + s.BuildsIn
	case s.Image != "":
		return "image " + s.Image
	}
	return "the image"
}

func after(s plannedStep) string {
	if len(s.DependsOn) == 0 {
		return "-"
	}
	return strings.Join(s.DependsOn, ", ")
}
