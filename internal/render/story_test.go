package render

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-ci/strata/internal/journal"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with testdata/name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got); go test -update accepts it:\n%s", name, diff)
	}
}

// story is a made-up run, told item by item.
type story struct {
	items []journal.Item
	now   time.Time
	seq   uint64
	steps map[string]time.Time // when the running ones started
}

func newStory(pipeline string, steps ...journal.Step) *story {
	s := &story{now: time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC), steps: make(map[string]time.Time)}
	for i := range steps {
		if steps[i].Command == "" {
			steps[i].Command = "make " + steps[i].Name
		}
		steps[i].Runner = "container"
	}
	s.event(journal.Event{Type: journal.RunStarted, Version: 1, Pipeline: pipeline, Project: "/src/app", Jobs: 2, Steps: steps})
	return s
}

func (s *story) event(e journal.Event) {
	s.seq++
	e.Seq, e.Time, e.RunID = s.seq, s.now, "r1"
	s.items = append(s.items, journal.Item{Event: &e})
}

func (s *story) wait(d time.Duration) { s.now = s.now.Add(d) }

func (s *story) start(step string) {
	s.steps[step] = s.now
	s.event(journal.Event{Type: journal.StepStarted, Step: step, Runner: "container"})
}

func (s *story) out(step, text string) {
	s.items = append(s.items, journal.Item{Output: &journal.Output{Step: step, Data: []byte(text)}})
}

func (s *story) end(step string, e journal.Event) {
	e.Type, e.Step = journal.StepFinished, step
	if at, ok := s.steps[step]; ok {
		e.DurationMS = float64(s.now.Sub(at).Milliseconds())
	}
	s.event(e)
}

func (s *story) pass(step string) {
	s.end(step, journal.Event{Status: journal.Passed, ExitCode: code(0)})
}

func (s *story) finish(status journal.Status, exit int) {
	took := s.now.Sub(s.items[0].Event.Time)
	s.event(journal.Event{Type: journal.RunFinished, Status: status, ExitCode: code(exit), DurationMS: float64(took.Milliseconds())})
}

func code(n int) *int { return &n }

// stream gives the items as a journal's reader does: output in a buffer that
// does not outlive the item.
func (s *story) stream() Items {
	return func(yield func(journal.Item, error) bool) {
		var buf []byte
		for _, item := range s.items {
			if item.Output != nil {
				buf = append(buf[:0], item.Output.Data...)
				item.Output = &journal.Output{Step: item.Output.Step, Data: buf}
			}
			if !yield(item, nil) {
				return
			}
			for i := range buf {
				buf[i] = '#'
			}
		}
	}
}

// goProject is a pipeline of five steps, one of them a fork with two children.
func goProject() []journal.Step {
	return []journal.Step{
		{Name: "build", Command: "go build ./..."},
		{Name: "vet", Command: "go vet ./...", BuildsIn: "build"},
		{Name: "test", Label: "unit tests", Command: "go test ./...", BuildsIn: "build"},
		{Name: "deploy", DependsOn: []string{"test", "vet"}},
		{Name: "notify", DependsOn: []string{"deploy"}},
	}
}

// failing is a run of goProject in which the tests fail.
func failing() *story {
	s := newStory("ci", goProject()...)
	s.wait(120 * time.Millisecond)
	s.event(journal.Event{Type: journal.CaptureFinished, Capture: &journal.Capture{ID: "c1", Files: 1234, Changed: 12, Bytes: 3 << 20, DurationMS: 120}})
	s.event(journal.Event{Type: journal.Notice, Message: "no container runner here: runner host is used, without isolation"})
	s.start("build")
	s.out("build", "compiling a\ncompil")
	s.wait(1230 * time.Millisecond)
	s.out("build", "ing b\n")
	s.pass("build")
	s.start("vet")
	s.start("test")
	s.event(journal.Event{Type: journal.Notice, Step: "test", Message: "the memory limit could not be set"})
	s.out("test", "=== RUN TestOne\n")
	s.out("vet", "vetting\r\n")
	s.wait(420 * time.Millisecond)
	s.pass("vet")
	s.out("test", "10 %\r50 %\r100 %\nFAIL: TestTwo\n\twant 1, got 2")
	s.wait(2790 * time.Millisecond)
	s.end("test", journal.Event{Status: journal.Failed, ExitCode: code(1)})
	s.end("deploy", journal.Event{Status: journal.Skipped, Cause: "test"})
	s.end("notify", journal.Event{Status: journal.Skipped, Cause: "test"})
	s.finish(journal.Failed, 1)
	return s
}

// broken is a run that an infrastructure error stops.
func broken() *story {
	s := newStory("ci", goProject()...)
	s.start("build")
	s.wait(20 * time.Millisecond)
	s.end("build", journal.Event{Status: journal.InfraFailed, Error: &journal.Error{
		Op: "mount the step's root", Kind: "unsupported", Message: "operation not permitted",
	}})
	for _, name := range []string{"vet", "test", "deploy", "notify"} {
		s.end(name, journal.Event{Status: journal.Skipped, Cause: "build"})
	}
	s.finish(journal.InfraFailed, 3)
	return s
}

// passing is a run of goProject with one cached step, one that runs since an
// input changed, and one that passes at its second attempt.
func passing() *story {
	s := newStory("ci", goProject()...)
	s.wait(50 * time.Millisecond)
	earlier := &journal.Origin{Run: "20260101-110000-ab12", Step: "build", Time: s.now.Add(-time.Hour)}
	s.event(journal.Event{Type: journal.PlanMade, Decisions: []journal.Decision{
		{Step: "build", Reason: "hit", Message: "nothing changed", From: earlier},
		{Step: "vet", Reason: "changed", Message: "input main.go changed", Nearest: earlier, ExpectedMS: 61_000},
		{Step: "test", Reason: "policy_none", Message: "its cache policy is none"},
	}})
	s.event(journal.Event{Type: journal.StepFinished, Step: "build", Status: journal.Cached, From: earlier, DurationMS: 3210})
	for _, name := range []string{"vet", "test", "deploy", "notify"} {
		s.start(name)
		s.out(name, "hello from "+name+"\n")
		s.wait(1500 * time.Millisecond)
		if name != "deploy" {
			s.pass(name)
			continue
		}
		s.event(journal.Event{Type: journal.StepRetried, Step: name, Attempt: 2, Status: journal.Failed, ExitCode: code(1), Message: "attempt 2: the command did not pass"})
		s.wait(time.Second)
		s.end(name, journal.Event{Status: journal.Passed, ExitCode: code(0), Attempt: 2})
	}
	s.finish(journal.Passed, 0)
	return s
}

// uncaptured is a run whose workspace could not be captured.
func uncaptured() *story {
	s := newStory("ci", goProject()...)
	s.wait(20 * time.Millisecond)
	s.event(journal.Event{Type: journal.RunFinished, Status: journal.InfraFailed, ExitCode: code(3), DurationMS: 20, Error: &journal.Error{
		Op: "capture the workspace /src/app", Kind: "disk_full", Message: "write /state/layers/new: no space left on device",
	}})
	return s
}

// faulty is a run whose pipeline does not fit the workspace.
func faulty() *story {
	s := newStory("ci", goProject()...)
	s.wait(20 * time.Millisecond)
	s.event(journal.Event{Type: journal.RunFinished, Status: journal.Invalid, ExitCode: code(2), DurationMS: 20, Error: &journal.Error{
		Op: "plan the run", Kind: "pipeline",
		Message: ".strata/ci.star:2:5: step \"build\": the pattern \"srcs/**\" matches nothing\n.strata/ci.star:3:5: step \"vet\": the pattern \"*.og\" matches nothing",
	}})
	return s
}

// retried is a run of one step that fails at both attempts.
func retried() *story {
	s := newStory("ci", journal.Step{Name: "flaky"})
	s.start("flaky")
	s.out("flaky", "the first attempt\nends in the middle of a l")
	s.wait(time.Second)
	s.event(journal.Event{Type: journal.StepRetried, Step: "flaky", Attempt: 2, Status: journal.Failed, ExitCode: code(1), Message: "attempt 2: the command did not pass (1 of 1 further tries)"})
	s.out("flaky", "the second attempt\n")
	s.wait(time.Second)
	s.end("flaky", journal.Event{Status: journal.Failed, ExitCode: code(1), Attempt: 2})
	s.finish(journal.Failed, 1)
	return s
}

// stories are all of them, by the names of their golden files.
func stories() map[string]*story {
	return map[string]*story{
		"failing": failing(), "broken": broken(), "passing": passing(), "uncaptured": uncaptured(), "faulty": faulty(), "retried": retried(),
	}
}
