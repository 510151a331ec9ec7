package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// doctorCmd is `strata doctor`.
type doctorCmd struct {
	JSON   bool `name:"json" help:"Print the findings as JSON."`
	Repair bool `name:"repair" help:"Look at all that is kept in the state directory instead, byte by byte, and repair what is wrong with it."`
}

// finding is one thing that was tried on this machine.
type finding struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"`
	// Needed says that no step can run without it.
	Needed bool `json:"needed"`
}

// Run tries everything and fails if something is missing that every run needs.
func (c *doctorCmd) Run(ctx context.Context, a *app) error {
	if c.Repair {
		return c.repair(ctx, a)
	}
	findings := a.examine(ctx)
	write := writeFindings
	if c.JSON {
		write = writeFindingsJSON
	}
	if err := write(a.stdout, findings); err != nil {
		return err
	}
	for _, f := range findings {
		if f.Needed && !f.OK {
			return exit(exitInfra)
		}
	}
	return nil
}

// repair prints what was wrong with the state directory, also if it could not
// look at all of it.
func (c *doctorCmd) repair(ctx context.Context, a *app) error {
	found, err := a.repairState(ctx)
	write := writeRepairs
	if c.JSON {
		write = writeRepairsJSON
	}
	if err != nil && len(found) == 0 {
		return err
	}
	return errors.Join(err, write(a.stdout, found))
}

func writeFindings(w io.Writer, findings []finding) error {
	var text strings.Builder
	for _, f := range findings {
		mark := "✓"
		if !f.OK {
			mark = "✗"
		}
		fmt.Fprintf(&text, "%s %-22s %s\n", mark, f.Name, clean(f.Detail))
		if f.Fix != "" {
			fmt.Fprintf(&text, "  %-22s → %s\n", "", clean(f.Fix))
		}
	}
	_, err := io.WriteString(w, text.String())
	return err
}

func writeFindingsJSON(w io.Writer, findings []finding) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(findings)
}

func (a *app) examine(ctx context.Context) []finding {
	home, err := a.makeStateDir()
	if err != nil {
		return []finding{{
			Name: "state directory", Needed: true, Detail: err.Error(),
		}}
	}
	findings := []finding{{Name: "state directory", OK: true, Needed: true, Detail: home}}
	s, err := a.openStore(home, false)
	if err != nil {
		return append(findings, finding{Name: "records", Needed: true, Detail: err.Error()})
	}
	findings = append(findings, isolation(ctx, s)...)
	h, err := openHost(s)
	if err == nil {
		err = try(ctx, h)
	}
	f := finding{Name: "runner host", OK: err == nil, Needed: true, Detail: "works: runs steps without isolation"}
	if err != nil {
		f.Detail = err.Error()
		f.Fix = "install a POSIX shell as sh"
	}
	if err := s.close(); err != nil {
		findings = append(findings, finding{Name: "records", Needed: true, Detail: err.Error()})
	}
	return append(findings, f)
}

// try runs a step that does nothing.
func try(ctx context.Context, r runner.StepRunner) error {
	var out discard
	result, err := r.Execute(ctx, &runner.StepContext{Stdout: out, Stderr: out, Notice: func(string) {}}, runner.ExecutorInput{
		Step: pipeline.Step{Name: "probe", Command: pipeline.Command{Shell: "true"}}, RunID: "doctor", StepID: "doctor.probe",
	})
	if err == nil && !result.Passed() {
		err = errors.New("a step that runs `true` did not pass")
	}
	return err
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
