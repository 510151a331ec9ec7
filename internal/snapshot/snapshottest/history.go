//go:build linux

package snapshottest

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/strata-ci/strata/runner"
)

// everyHistory lets a few processes make, keep, use and remove snapshots in any
// order, and end well or by a crash, and compares with a model what there is.
func (s *suite) everyHistory(t *testing.T) {
	base, count := t.TempDir(), 0
	rapid.Check(t, func(r *rapid.T) {
		count++
		c := s.open(t, filepath.Join(base, fmt.Sprint(count)), rapid.IntRange(1, 3).Draw(r, "layers"))
		h := &history{check: c, r: r, data: map[runner.SnapshotRef]string{"": ""}, kept: map[runner.SnapshotRef]bool{}}
		h.processes = []*process{{driver: c.driver, own: map[runner.SnapshotRef]bool{}}}
		r.Repeat(map[string]func(*rapid.T){
			"step": h.step, "keep": h.keep, "remove": h.remove, "end": h.end, "start": h.start, "fork": h.fork, "commit": h.commit,
			"sweep": h.sweep, "": h.compare,
		})
		h.finish()
	})
}

// history is the model, and the processes that it is compared with.
type history struct {
	*check
	r         *rapid.T
	processes []*process
	data      map[runner.SnapshotRef]string // what a file holds in each snapshot ever made
	kept      map[runner.SnapshotRef]bool
}

type process struct {
	driver Driver
	own    map[runner.SnapshotRef]bool // made here and not removed here
	forks  []running
}

// running is a fork that has not ended.
type running struct {
	fork   Fork
	parent runner.SnapshotRef
}

func (h *history) process(r *rapid.T) *process {
	if len(h.processes) == 0 {
		r.Skip("no process")
	}
	return rapid.SampledFrom(h.processes).Draw(r, "process")
}

// visible returns the snapshots that a process can start from, in order.
func (h *history) visible(p *process) []runner.SnapshotRef {
	var refs []runner.SnapshotRef
	for ref := range h.data {
		if p.own[ref] || h.kept[ref] {
			refs = append(refs, ref)
		}
	}
	slices.Sort(refs)
	return refs
}

func (h *history) one(r *rapid.T, refs []runner.SnapshotRef) runner.SnapshotRef {
	if len(refs) == 0 {
		r.Skip("no snapshot")
	}
	return rapid.SampledFrom(refs).Draw(r, "ref")
}

func (h *history) fork(r *rapid.T) {
	p := h.process(r)
	if len(p.forks) > 2 {
		r.Skip("enough forks")
	}
	parent := rapid.SampledFrom(append(h.visible(p), "")).Draw(r, "parent")
	f, err := p.driver.Fork(parent)
	h.ok(err)
	p.forks = append(p.forks, running{f, parent})
}

// commit ends a fork, whatever became of its parent.
func (h *history) commit(r *rapid.T) {
	p := h.process(r)
	if len(p.forks) == 0 {
		r.Skip("no fork")
	}
	f := p.forks[0]
	p.forks = p.forks[1:]
	if rapid.IntRange(0, 4).Draw(r, "discard") == 0 {
		f.fork.Discard()
		return
	}
	h.made++
	ref := runner.SnapshotRef(fmt.Sprint("s", h.made))
	h.data[ref] = h.data[f.parent]
	if rapid.IntRange(0, 4).Draw(r, "unchanged") != 0 {
		h.data[ref] = string(ref)
		a, err := h.helper.ask(request{Store: h.dir, Mounts: workspaceOf(f.fork), Root: h.root, Ops: []Op{{Do: Write, Path: "a", To: string(ref)}}})
		h.ok(err)
		if a.Errors[0] != "" {
			h.r.Fatal(a.Errors[0])
		}
	}
	h.ok(f.fork.Commit(ref))
	p.own[ref] = true
}

func (h *history) step(r *rapid.T) {
	h.fork(r)
	h.commit(r)
}

func (h *history) keep(r *rapid.T) {
	p := h.process(r)
	refs := []runner.SnapshotRef{h.one(r, h.visible(p))}
	if rapid.Bool().Draw(r, "two") {
		refs = append(refs, h.one(r, h.visible(p)))
	}
	_, err := p.driver.Keep(context.Background(), refs)
	h.ok(err)
	for _, ref := range refs {
		h.kept[ref] = true
	}
}

func (h *history) remove(r *rapid.T) {
	p := h.process(r)
	ref := h.one(r, h.visible(p))
	h.ok(p.driver.Remove(ref))
	delete(p.own, ref)
	delete(h.kept, ref)
}

func (h *history) sweep(r *rapid.T) {
	h.ok(h.process(r).driver.Sweep(context.Background(), rapid.Bool().Draw(r, "full")))
}

func (h *history) start(r *rapid.T) {
	if len(h.processes) > 2 {
		r.Skip("enough processes")
	}
	h.processes = append(h.processes, &process{driver: h.factory(h.T, h.dir, h.image, 2), own: map[runner.SnapshotRef]bool{}})
}

func (h *history) end(r *rapid.T) {
	p := h.process(r)
	h.processes = slices.DeleteFunc(h.processes, func(q *process) bool { return q == p })
	if rapid.Bool().Draw(r, "crash") {
		p.driver.Crash()
		return
	}
	for _, f := range p.forks {
		f.fork.Discard()
	}
	h.ok(p.driver.Close())
}

// compare looks at one snapshot that should be there, and at one that should not.
func (h *history) compare(r *rapid.T) {
	if len(h.processes) == 0 {
		return
	}
	p := h.processes[len(h.processes)-1]
	visible := h.visible(p)
	if len(visible) > 0 {
		h.wantData(p, rapid.SampledFrom(visible).Draw(r, "look at"))
	}
	for ref := range h.data {
		if ref != "" && !slices.Contains(visible, ref) {
			_, err := p.driver.Fork(ref)
			h.wantKind(err, runner.KindSnapshot)
		}
	}
}

func (h *history) wantData(p *process, ref runner.SnapshotRef) {
	if h.kept[ref] {
		h.ok(p.driver.Check(context.Background(), ref, runner.CheckContents))
	}
	f, err := p.driver.Fork(ref)
	h.ok(err)
	defer f.Discard()
	a, err := h.helper.ask(request{Store: h.dir, Mounts: workspaceOf(f), Root: h.root})
	h.ok(err)
	want := h.data[ref]
	if want == "" {
		want = "a" // the image's
	}
	if got := a.Tree["a"].Data; got != want {
		h.r.Fatalf("%s holds %q, want %q", ref, got, want)
	}
}

// finish ends all processes, and looks from another at all that is kept; then
// it removes that, and nothing may be left.
func (h *history) finish() {
	for _, p := range h.processes {
		p.driver.Crash()
	}
	last := &process{driver: h.factory(h.T, h.dir, h.image, 2)}
	for ref := range h.data {
		if h.kept[ref] {
			h.wantData(last, ref)
			h.ok(last.driver.Remove(ref))
		}
	}
	h.ok(last.driver.Close())
	h.wantNothing()
	if h.Failed() {
		h.r.Fatal("see above")
	}
}

func (h *history) ok(err error) {
	if err != nil {
		h.r.Helper()
		h.r.Fatal(err)
	}
}
