package runnertest_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/strata-ci/strata/internal/runners/host"
	"github.com/strata-ci/strata/runner"
	"github.com/strata-ci/strata/runner/runnertest"
)

func TestMain(m *testing.M) {
	host.Supervise()
	os.Exit(m.Run())
}

// mutant is a runner that breaks one promise. The suite has to notice.
type mutant struct {
	fails string // the subtest that fails
	says  string // in the failure's message
	do    execute
}

type execute func(ctx context.Context, r *host.Runner, sc *runner.StepContext, in runner.ExecutorInput) (runner.StepResult, error)

var mutants = map[string]mutant{
	"loses the last line": {
		fails: "suite/output/needs no last newline", says: `want "out"`,
		do: func(ctx context.Context, r *host.Runner, sc *runner.StepContext, in runner.ExecutorInput) (runner.StepResult, error) {
			cut := *sc
			cut.Stdout = wholeLines{sc}
			return r.Execute(ctx, &cut, in)
		},
	},
	"leaks the environment": {
		fails: "suite/env/has nothing of the caller's", says: "the caller's variable",
		do: func(ctx context.Context, r *host.Runner, sc *runner.StepContext, in runner.ExecutorInput) (runner.StepResult, error) {
			in.Env = append(os.Environ(), in.Env...)
			return r.Execute(ctx, sc, in)
		},
	},
	"leaves a process": {
		fails: "suite/output/may be empty", says: "outlived its step",
		do: func(ctx context.Context, r *host.Runner, sc *runner.StepContext, in runner.ExecutorInput) (runner.StepResult, error) {
			left := exec.Command("cat")
			left.Env = in.Env
			// It ends with this process, which holds the pipe's other end.
			if _, err := left.StdinPipe(); err != nil {
				return runner.StepResult{}, err
			}
			if err := left.Start(); err != nil {
				return runner.StepResult{}, err
			}
			return r.Execute(ctx, sc, in)
		},
	},
	"leaves a goroutine": {
		fails: "", says: "left goroutines",
		do: func(ctx context.Context, r *host.Runner, sc *runner.StepContext, in runner.ExecutorInput) (runner.StepResult, error) {
			go func() { select {} }()
			return r.Execute(ctx, sc, in)
		},
	},
	"leaves a temporary file": {
		fails: "", says: "left files in the temporary directory",
		do: func(ctx context.Context, r *host.Runner, sc *runner.StepContext, in runner.ExecutorInput) (runner.StepResult, error) {
			f, err := os.CreateTemp("", "left")
			if err != nil {
				return runner.StepResult{}, err
			}
			f.Close()
			return r.Execute(ctx, sc, in)
		},
	},
	"takes a failure for an error": {
		fails: "suite/exit/exit codes are results as they are", says: "exit 7: got",
		do: func(ctx context.Context, r *host.Runner, sc *runner.StepContext, in runner.ExecutorInput) (runner.StepResult, error) {
			result, err := r.Execute(ctx, sc, in)
			if err == nil && result.ExitCode != 0 {
				err = &runner.InfraError{Op: "run", Kind: runner.KindInternal, Err: errors.New("it failed")}
			}
			return result, err
		},
	},
	"gives no time to end": {
		fails: "suite/cancel/lets a command end by itself", says: "cleaned up",
		do: func(ctx context.Context, r *host.Runner, sc *runner.StepContext, in runner.ExecutorInput) (runner.StepResult, error) {
			kill := make(chan struct{})
			close(kill)
			hasty := *sc
			hasty.Kill = kill
			return r.Execute(ctx, &hasty, in)
		},
	},
	"starts from nothing when the parent is lost": {
		fails: "suite/snapshot/is gone when it is reaped, also twice", says: "kind \"snapshot\"",
		do: func(ctx context.Context, r *host.Runner, sc *runner.StepContext, in runner.ExecutorInput) (runner.StepResult, error) {
			result, err := r.Execute(ctx, sc, in)
			var infra *runner.InfraError
			if errors.As(err, &infra) && infra.Kind == runner.KindSnapshot {
				in.Parent = ""
				return r.Execute(ctx, sc, in)
			}
			return result, err
		},
	},
	"works in the parent's snapshot itself": {
		fails: "suite/snapshot/never changes", says: "d/in: No such file",
		do: func(ctx context.Context, r *host.Runner, sc *runner.StepContext, in runner.ExecutorInput) (runner.StepResult, error) {
			if in.Parent == "" || in.Cache.Action != runner.MissNoCommit {
				return r.Execute(ctx, sc, in)
			}
			in.Cache = runner.CacheDecision{Action: runner.MissBuildAs, Ref: in.Parent}
			result, err := r.Execute(ctx, sc, in)
			result.Snapshot = ""
			return result, err
		},
	},
}

// TestSuiteNotices runs the suite on each mutant, in a process of its own, and
// checks that it fails for the mutant's fault, and that it passes without.
func TestSuiteNotices(t *testing.T) {
	for name, m := range mutants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pattern := "^TestMutant$"
			subtest := strings.ReplaceAll(m.fails, " ", "_")
			if subtest == "" {
				pattern += "/^suite$/^output$/^may_be_empty$"
			} else {
				for part := range strings.SplitSeq(subtest, "/") {
					pattern += "/^" + regexp.QuoteMeta(part) + "$"
				}
				subtest = "/" + subtest
			}
			if out, err := runMutant(pattern, ""); err != nil {
				t.Fatalf("the suite fails on the runner without the fault: %v\n%s", err, out)
			}
			out, err := runMutant(pattern, name)
			if err == nil || !strings.Contains(out, "--- FAIL: TestMutant"+subtest+" (") || !strings.Contains(out, m.says) {
				t.Errorf("the suite has not failed in TestMutant%s with %q: %v\n%s", subtest, m.says, err, out)
			}
		})
	}
}

const mutantVariable = "STRATA_MUTANT"

func runMutant(pattern, name string) (string, error) {
	cmd := exec.Command(os.Args[0], "-test.v", "-test.run", pattern)
	cmd.Env = append(os.Environ(), mutantVariable+"="+name)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestMutant is what TestSuiteNotices runs.
func TestMutant(t *testing.T) {
	name, ok := os.LookupEnv(mutantVariable)
	if !ok {
		t.Skip("run by TestSuiteNotices")
	}
	runnertest.Run(t, func(t testing.TB, grace time.Duration) runner.StepRunner {
		r, err := host.New(host.Options{StateDir: t.TempDir(), Grace: grace})
		if err != nil {
			t.Fatal(err)
		}
		return mutated{r, mutants[name].do}
	}, runnertest.Properties{Signals: true, Snapshots: true, Modes: true, Symlinks: true, Adds: []string{"TMPDIR"}})
}

// mutated is a runner with a fault; without one it is the host runner.
type mutated struct {
	*host.Runner
	do execute
}

func (m mutated) Execute(ctx context.Context, sc *runner.StepContext, in runner.ExecutorInput) (runner.StepResult, error) {
	if m.do == nil {
		return m.Runner.Execute(ctx, sc, in)
	}
	return m.do(ctx, m.Runner, sc, in)
}

// wholeLines forgets what comes after the last newline of a piece.
type wholeLines struct{ sc *runner.StepContext }

func (w wholeLines) Write(p []byte) (int, error) {
	if _, err := w.sc.Stdout.Write(p[:strings.LastIndex(string(p), "\n")+1]); err != nil {
		return 0, err
	}
	return len(p), nil
}
