package engine_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/strata-ci/strata/internal/engine"
	"github.com/strata-ci/strata/internal/journal"
	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// depot is a runner whose results can be used again. What a step does is its
// script; a snapshot is the list of the commands that made it.
type depot struct {
	script

	mu        sync.Mutex
	snapshots map[runner.SnapshotRef]*snapshot
	ran       []string          // the steps that were executed, in order
	parents   map[string]string // what each of them found last
	keepFault func(refs []runner.SnapshotRef) error
	onCheck   func(ref runner.SnapshotRef)
}

type snapshot struct {
	made    string // by which commands
	kept    bool
	damaged bool // in a way that only a look at all files finds
}

func newDepot(name string) *depot {
	return &depot{script: script{name: name}, snapshots: map[runner.SnapshotRef]*snapshot{}, parents: map[string]string{}}
}

func lost(ref runner.SnapshotRef) error {
	return &runner.InfraError{Op: "use " + string(ref), Kind: runner.KindSnapshot, Err: errors.New("the file usr/bin/tool is not as it was")}
}

func (d *depot) Execute(ctx context.Context, sc *runner.StepContext, in runner.ExecutorInput) (runner.StepResult, error) {
	d.mu.Lock()
	d.ran = append(d.ran, in.Step.Name)
	found := ""
	if in.Parent != "" {
		parent := d.snapshots[in.Parent]
		if parent == nil {
			d.mu.Unlock()
			return runner.StepResult{}, lost(in.Parent)
		}
		found = parent.made
		if parent.damaged {
			found += "damaged "
		}
	}
	d.parents[in.Step.Name] = found
	d.mu.Unlock()
	result, err := d.script.Execute(ctx, sc, in)
	result.Snapshot = ""
	if err == nil && (result.Passed() && in.Cache.Action == runner.MissBuildAs || !result.Passed() && in.Cache.KeepFailed) {
		d.mu.Lock()
		d.snapshots[in.Cache.Ref] = &snapshot{made: found + in.Step.Command.Shell + " "}
		d.mu.Unlock()
		result.Snapshot = in.Cache.Ref
	}
	return result, err
}

func (d *depot) KeepSnapshots(ctx context.Context, refs []runner.SnapshotRef) ([]runner.KeptSnapshot, error) {
	if d.keepFault != nil {
		if err := d.keepFault(refs); err != nil {
			return nil, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var kept []runner.KeptSnapshot
	for _, ref := range refs {
		d.snapshots[ref].kept = true
		kept = append(kept, runner.KeptSnapshot{Ref: ref, Parts: []runner.SnapshotPart{{ID: string(ref), Bytes: 100}}})
	}
	return kept, ctx.Err()
}

func (d *depot) CheckSnapshot(_ context.Context, ref runner.SnapshotRef, depth runner.CheckDepth) error {
	if d.onCheck != nil && depth > runner.CheckExists {
		d.onCheck(ref)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.snapshots[ref]; s == nil || !s.kept || s.damaged && depth > runner.CheckExists {
		return lost(ref)
	}
	return nil
}

func (d *depot) ReapSnapshots(ctx context.Context, refs []runner.SnapshotRef) error {
	d.mu.Lock()
	for _, ref := range refs {
		delete(d.snapshots, ref)
	}
	d.mu.Unlock()
	return d.script.ReapSnapshots(ctx, refs)
}

func (d *depot) IdentifyImage(context.Context, pipeline.Step) (map[string]string, error) {
	return map[string]string{"system": "one"}, nil
}

// took returns the steps that were executed since it was last called, sorted.
func (d *depot) took() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	slices.Sort(d.ran)
	list := strings.Join(d.ran, " ")
	d.ran = nil
	return list
}

// damage changes the kept snapshot that the commands made.
func (f *shop) damage(made string, how func(ref runner.SnapshotRef)) {
	f.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for ref, s := range f.snapshots {
		if s.made == made && s.kept {
			how(ref)
			return
		}
	}
	f.Fatalf("no snapshot was made by %q", made)
}

// shop is a fixture with a depot as its runner.
type shop struct {
	*fixture
	*depot
}

func newShop(t *testing.T) *shop {
	t.Helper()
	f := &shop{setup(t), newDepot("depot")}
	f.runners = []runner.StepRunner{f.depot}
	return f
}

// want runs the pipeline and checks how the run and its steps ended, given as
// "step status" pairs, and which steps were executed.
func (f *shop) want(status journal.Status, steps []pipeline.Step, took string, change ...func(*engine.Request)) (map[string]journal.Event, []journal.Event) {
	f.Helper()
	var one func(*engine.Request)
	if len(change) > 0 {
		one = change[0]
	}
	result, ends, events := f.run(f.Context(), &pipeline.Pipeline{Steps: steps}, one)
	f.wantStatus(result.Status, status)
	for _, note := range result.Notes {
		f.Errorf("unexpected note: %v", note)
	}
	f.wantTook(took)
	return ends, events
}

func (f *shop) wantTook(want string) {
	f.Helper()
	if got := f.took(); got != want {
		f.Errorf("%q were executed, want %q", got, want)
	}
}

// wantNothingHeld fails the test if a claim or an unkept snapshot is left.
func (f *shop) wantNothingHeld() {
	f.Helper()
	f.wantNoClaims()
	f.mu.Lock()
	defer f.mu.Unlock()
	for ref, s := range f.snapshots {
		if !s.kept {
			f.Errorf("the snapshot %s is left, and nobody keeps it", ref)
		}
	}
}

func reasonOf(events []journal.Event, step string) string {
	for _, ev := range events {
		for _, d := range ev.Decisions {
			if d.Step == step {
				return d.Reason
			}
		}
	}
	return ""
}

func cached(policy pipeline.CachePolicy) func(*pipeline.Step) {
	return func(s *pipeline.Step) { s.Cache = &policy }
}

var forever = cached(pipeline.CachePolicy{Kind: pipeline.CacheForever})

func reads(globs ...string) func(*pipeline.Step) {
	return cached(pipeline.CachePolicy{Kind: pipeline.CacheOnChange, Paths: globs})
}

func (f *fixture) wantNoClaims() {
	f.Helper()
	left, err := os.ReadDir(filepath.Join(f.home, "cache", "locks"))
	if len(left) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.Errorf("claims are left: %v, %v", left, err)
	}
}
