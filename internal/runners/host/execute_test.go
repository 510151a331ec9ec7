package host_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/strata-ci/strata/internal/runners/host"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// execute runs a script and returns its whole output.
func execute(t *testing.T, r *host.Runner, in runner.ExecutorInput) (runner.StepResult, string, error) {
	t.Helper()
	var out bytes.Buffer
	sc := &runner.StepContext{Stdout: &out, Stderr: &out, Notice: func(m string) { t.Log("notice:", m) }}
	if in.StepID == "" {
		in.StepID = "step"
	}
	result, err := r.Execute(context.Background(), sc, in)
	return result, out.String(), err
}

func script(sh string) pipeline.Step {
	return pipeline.Step{Name: "step", Command: pipeline.Command{Shell: sh}}
}

func newRunner(t *testing.T) *host.Runner { return newStateDirs().newRunner(t, 0) }

func wantKind(t *testing.T, err error, kind runner.InfraKind) {
	t.Helper()
	var infra *runner.InfraError
	if !errors.As(err, &infra) || infra.Kind != kind {
		t.Errorf("got the error %v (%T), want an InfraError of kind %q", err, err, kind)
	}
}

func TestNewWantsAnAbsoluteDirectory(t *testing.T) {
	if _, err := host.New(host.Options{StateDir: "state"}); err == nil {
		t.Error("a relative state directory is accepted")
	}
}

func TestNewTouchesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	r := newStateDirs().open(t, dir, 0)
	if err := r.Sweep(context.Background()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the state directory exists before the first step")
	}
}

func TestRefusesWhatNeedsIsolation(t *testing.T) {
	r := newRunner(t)
	for name, change := range map[string]func(*pipeline.Step){
		"network":     func(s *pipeline.Step) { s.Network = pipeline.NetworkNone },
		"image":       func(s *pipeline.Step) { s.Image = "alpine:3" },
		"CPUs":        func(s *pipeline.Step) { s.Resources = &pipeline.Resources{CPUs: 1} },
		"runner_args": func(s *pipeline.Step) { s.RunnerArgs = []byte(`{"a":1}`) },
	} {
		step := script("echo ran")
		change(&step)
		err := r.ValidateStep(step)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: ValidateStep says %v", name, err)
		}
		_, out, err := execute(t, r, runner.ExecutorInput{Step: step})
		wantKind(t, err, runner.KindUnsupported)
		if out != "" {
			t.Errorf("%s: the command ran", name)
		}
	}
	step := script("true")
	step.Image, step.Network, step.Resources = pipeline.ImageHost, pipeline.NetworkHost, &pipeline.Resources{}
	if err := r.ValidateStep(step); err != nil {
		t.Errorf("a step that needs no isolation: %v", err)
	}
}

func TestRefusesNamesThatAreNoFileNames(t *testing.T) {
	r := newRunner(t)
	for _, ref := range []runner.SnapshotRef{"../x", ".", "..", "a/b", "", "a b", runner.SnapshotRef(strings.Repeat("x", 129))} {
		in := runner.ExecutorInput{Step: script("true"), Cache: runner.CacheDecision{Action: runner.MissBuildAs, Ref: ref}}
		_, _, err := execute(t, r, in)
		wantKind(t, err, runner.KindUnsupported)
		if err := r.ReapSnapshots(context.Background(), []runner.SnapshotRef{ref}); err != nil {
			t.Errorf("ReapSnapshots(%q): %v", ref, err)
		}
	}
	_, _, err := execute(t, r, runner.ExecutorInput{Step: script("true"), Parent: "../steps"})
	wantKind(t, err, runner.KindSnapshot)
	_, _, err = execute(t, r, runner.ExecutorInput{Step: script("true"), StepID: "../x"})
	wantKind(t, err, runner.KindInternal)
}

func TestStepDirectoryStaysInTheWorkspace(t *testing.T) {
	r := newRunner(t)
	for _, dir := range []string{"..", "../..", "/", "/tmp", "a/../../.."} {
		_, _, err := execute(t, r, runner.ExecutorInput{Step: script("pwd"), Dir: dir})
		wantKind(t, err, runner.KindStart)
	}
}

func TestHomeAndToolsAreTheUsers(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	_, out, err := execute(t, newRunner(t), runner.ExecutorInput{Step: script(`echo "$HOME $PATH"`)})
	if want := home + " " + os.Getenv("PATH") + "\n"; err != nil || out != want {
		t.Errorf("HOME and PATH are %q (%v), want the caller's %q", out, err, want)
	}
}

func TestHomeThatCannotBeUsedIsReplaced(t *testing.T) {
	for _, home := range []string{"", "/nonexistent", os.Args[0]} {
		t.Setenv("HOME", home)
		r := newRunner(t)
		_, out, err := execute(t, r, runner.ExecutorInput{Step: script(`cd; echo x > file; pwd`)})
		if err != nil || strings.TrimSpace(out) == home {
			t.Errorf("HOME=%q: got %q, %v, want a directory that can be written to", home, out, err)
		}
		if _, err := os.Stat(strings.TrimSpace(out)); err == nil {
			t.Errorf("HOME=%q: its replacement %q outlives the step", home, out)
		}
	}
}

func TestTemporaryFilesEndWithTheStep(t *testing.T) {
	r := newRunner(t)
	in := runner.ExecutorInput{
		Step:  script(`f=$(mktemp); mkdir "$TMPDIR/d"; chmod 000 "$TMPDIR/d"; echo "$f"`),
		Cache: runner.CacheDecision{Action: runner.MissBuildAs, Ref: "snap"},
	}
	_, out, err := execute(t, r, in)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(strings.TrimSpace(out)); err == nil {
		t.Errorf("the temporary file %s outlives the step", out)
	}
	_, out, err = execute(t, r, runner.ExecutorInput{Step: script(`ls -A; ls -A "$TMPDIR"`), Parent: "snap"})
	if err != nil || out != "" {
		t.Errorf("the child sees %q (%v), want an empty workspace and TMPDIR", out, err)
	}
}

func TestSnapshotsAreSharedThroughTheStateDirectory(t *testing.T) {
	dir := t.TempDir()
	one := newStateDirs().open(t, dir, 0)
	two := newStateDirs().open(t, dir, 0)
	cache := runner.CacheDecision{Action: runner.MissBuildAs, Ref: "snap"}
	if _, _, err := execute(t, one, runner.ExecutorInput{Step: script("echo x > file"), Cache: cache}); err != nil {
		t.Fatal(err)
	}
	if _, out, err := execute(t, two, runner.ExecutorInput{Step: script("cat file"), Parent: "snap"}); err != nil || out != "x\n" {
		t.Errorf("the other runner's step says %q, %v", out, err)
	}
}

func TestRebuiltSnapshotReplacesTheOldOne(t *testing.T) {
	r := newRunner(t)
	for _, word := range []string{"one", "two"} {
		in := runner.ExecutorInput{
			Step:  script("test ! -e file; echo " + word + " > file"),
			Cache: runner.CacheDecision{Action: runner.MissBuildAs, Ref: "snap"},
		}
		if result, out, err := execute(t, r, in); err != nil || result.Snapshot != "snap" {
			t.Fatalf("build %s: got %+v, %q, %v", word, result, out, err)
		}
		if _, out, err := execute(t, r, runner.ExecutorInput{Step: script("cat file"), Parent: "snap"}); err != nil || out != word+"\n" {
			t.Errorf("a child of build %s says %q, %v", word, out, err)
		}
	}
}
