package runnertest_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/strata-ci/strata/internal/runners/host"
	"github.com/strata-ci/strata/pipeline"
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
	faults
}

// faults are methods that a mutant replaces; nil leaves one as it is.
type faults struct {
	keep     func(r *host.Runner, refs []runner.SnapshotRef) ([]runner.KeptSnapshot, error)
	check    func(r *host.Runner, ref runner.SnapshotRef, depth runner.CheckDepth) error
	reap     func(m mutated, refs []runner.SnapshotRef) error
	identify func(parts map[string]string)
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
	"keeps nothing": {
		fails: "suite/keep/outlives the runner", says: "never kept",
		faults: faults{keep: func(_ *host.Runner, refs []runner.SnapshotRef) ([]runner.KeptSnapshot, error) {
			kept := make([]runner.KeptSnapshot, len(refs))
			for i, ref := range refs {
				kept[i] = runner.KeptSnapshot{Ref: ref, Parts: []runner.SnapshotPart{{ID: string(ref), Bytes: 1}}}
			}
			return kept, nil
		}},
	},
	"names no parts": {
		fails: "suite/keep/says what the disk space goes to", says: "want the parts of",
		faults: faults{keep: func(r *host.Runner, refs []runner.SnapshotRef) ([]runner.KeptSnapshot, error) {
			kept, err := r.KeepSnapshots(context.Background(), refs)
			for i := range kept {
				kept[i].Parts = nil
			}
			return kept, err
		}},
	},
	"has one part for everything": {
		fails: "suite/keep/says what the disk space goes to", says: "bytes in one snapshot and",
		faults: faults{keep: func(r *host.Runner, refs []runner.SnapshotRef) ([]runner.KeptSnapshot, error) {
			kept, err := r.KeepSnapshots(context.Background(), refs)
			for i := range kept {
				kept[i].Parts[0].ID = "part"
			}
			return kept, err
		}},
	},
	"forgets the disk space": {
		fails: "suite/keep/says what the disk space goes to", says: "occupies 0 bytes",
		faults: faults{keep: func(r *host.Runner, refs []runner.SnapshotRef) ([]runner.KeptSnapshot, error) {
			kept, err := r.KeepSnapshots(context.Background(), refs)
			for i := range kept {
				kept[i].Parts[0].Bytes = 0
			}
			return kept, err
		}},
	},
	"keeps what does not exist": {
		fails: "suite/keep/is nothing where there is no snapshot", says: `want an *InfraError of kind "snapshot"`,
		faults: faults{keep: func(r *host.Runner, refs []runner.SnapshotRef) ([]runner.KeptSnapshot, error) {
			return r.KeepSnapshots(context.Background(), refs[:1])
		}},
	},
	"checks nothing": {
		fails: "suite/keep/is not whole when it is gone", says: "no-such-snapshot",
		faults: faults{check: func(*host.Runner, runner.SnapshotRef, runner.CheckDepth) error { return nil }},
	},
	"never reads contents": {
		fails: "suite/keep/damage is found by a check", says: "depth 2",
		faults: faults{check: func(r *host.Runner, ref runner.SnapshotRef, depth runner.CheckDepth) error {
			return r.CheckSnapshot(context.Background(), ref, min(depth, runner.CheckFiles))
		}},
	},
	"always reads contents": {
		fails: "suite/keep/damage is found by a check", says: "which cannot find it",
		faults: faults{check: func(r *host.Runner, ref runner.SnapshotRef, _ runner.CheckDepth) error {
			return r.CheckSnapshot(context.Background(), ref, runner.CheckContents)
		}},
	},
	"reaps only its own": {
		fails: "suite/keep/is reaped by another runner", says: `want an *InfraError of kind "snapshot"`,
		faults: faults{reap: func(m mutated, refs []runner.SnapshotRef) error {
			if m.reopened {
				return nil
			}
			return m.Runner.ReapSnapshots(context.Background(), refs)
		}},
	},
	"keeps no failure": {
		fails: "suite/failed/is committed whatever was decided for a pass", says: "want a failure and the snapshot",
		do: func(ctx context.Context, r *host.Runner, sc *runner.StepContext, in runner.ExecutorInput) (runner.StepResult, error) {
			in.Cache.KeepFailed = in.Cache.KeepFailed && in.Cache.Action == runner.MissBuildAs
			return r.Execute(ctx, sc, in)
		},
	},
	"keeps what passes with failures": {
		fails: "suite/failed/changes nothing for a command that passes", says: "want no snapshot",
		do: func(ctx context.Context, r *host.Runner, sc *runner.StepContext, in runner.ExecutorInput) (runner.StepResult, error) {
			if in.Cache.KeepFailed {
				in.Cache.Action = runner.MissBuildAs
			}
			return r.Execute(ctx, sc, in)
		},
	},
	"identifies nothing": {
		fails: "suite/identify/has named parts", says: "has no parts",
		faults: faults{identify: func(parts map[string]string) { clear(parts) }},
	},
	"identifies the moment": {
		fails: "suite/identify/is the same twice", says: "the same image is",
		faults: faults{identify: func(parts map[string]string) { parts["now"] = time.Now().String() }},
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
	open := func(t testing.TB, dir string, grace time.Duration) mutated {
		r, err := host.New(host.Options{StateDir: dir, Grace: grace})
		if err != nil {
			t.Fatal(err)
		}
		return mutated{Runner: r, do: mutants[name].do, faults: mutants[name].faults, dir: dir}
	}
	runnertest.Run(t, func(t testing.TB, grace time.Duration) runner.StepRunner {
		return open(t, t.TempDir(), grace)
	}, runnertest.Properties{
		Signals: true, Snapshots: true, Modes: true, Symlinks: true, Adds: []string{"TMPDIR"},
		Reopen: func(t testing.TB, r runner.StepRunner) runner.StepRunner {
			m := open(t, r.(mutated).dir, 0)
			m.reopened = true
			return m
		},
		Damage: damage,
	})
}

// damage damages a snapshot of the host runner so that a check of that depth
// finds it.
func damage(t testing.TB, r runner.StepRunner, part string, depth runner.CheckDepth) {
	file := filepath.Join(r.(mutated).dir, "snapshots", part, "workspace", "d", "file")
	info, err := os.Stat(file)
	if err == nil {
		err = os.WriteFile(file, make([]byte, info.Size()), 0)
	}
	if err == nil && depth == runner.CheckContents {
		err = os.Chtimes(file, info.ModTime(), info.ModTime())
	}
	if err == nil && depth == runner.CheckExists {
		err = os.RemoveAll(filepath.Join(r.(mutated).dir, "snapshots", part))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// mutated is a runner with a fault; without one it is the host runner.
type mutated struct {
	*host.Runner
	do execute
	faults
	dir      string
	reopened bool
}

func (m mutated) KeepSnapshots(ctx context.Context, refs []runner.SnapshotRef) ([]runner.KeptSnapshot, error) {
	if m.keep == nil {
		return m.Runner.KeepSnapshots(ctx, refs)
	}
	return m.keep(m.Runner, refs)
}

func (m mutated) CheckSnapshot(ctx context.Context, ref runner.SnapshotRef, depth runner.CheckDepth) error {
	if m.check == nil {
		return m.Runner.CheckSnapshot(ctx, ref, depth)
	}
	return m.check(m.Runner, ref, depth)
}

func (m mutated) ReapSnapshots(ctx context.Context, refs []runner.SnapshotRef) error {
	if m.reap == nil {
		return m.Runner.ReapSnapshots(ctx, refs)
	}
	return m.reap(m, refs)
}

func (m mutated) IdentifyImage(ctx context.Context, step pipeline.Step) (map[string]string, error) {
	parts, err := m.Runner.IdentifyImage(ctx, step)
	if m.identify != nil && err == nil {
		m.identify(parts)
	}
	return parts, err
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
