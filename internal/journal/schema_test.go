package journal_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/strata-ci/strata/internal/journal"
)

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(journal.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("event.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("event.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSchemaHasTheFieldsOfTheTypes(t *testing.T) {
	type object struct {
		Properties map[string]any    `json:"properties"`
		Defs       map[string]object `json:"$defs"`
	}
	var doc object
	if err := json.Unmarshal(journal.Schema(), &doc); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name       string
		goType     reflect.Type
		properties map[string]any
	}{
		{"event", reflect.TypeFor[journal.Event](), doc.Properties},
		{"step", reflect.TypeFor[journal.Step](), doc.Defs["step"].Properties},
		{"capture", reflect.TypeFor[journal.Capture](), doc.Defs["capture"].Properties},
		{"error", reflect.TypeFor[journal.Error](), doc.Defs["error"].Properties},
		{"usage", reflect.TypeFor[journal.Usage](), doc.Defs["usage"].Properties},
		{"decision", reflect.TypeFor[journal.Decision](), doc.Defs["decision"].Properties},
		{"change", reflect.TypeFor[journal.Change](), doc.Defs["change"].Properties},
		{"origin", reflect.TypeFor[journal.Origin](), doc.Defs["origin"].Properties},
		{"gone", reflect.TypeFor[journal.Gone](), doc.Defs["gone"].Properties},
	} {
		var fields []string
		for i := range tt.goType.NumField() {
			name, _, _ := strings.Cut(tt.goType.Field(i).Tag.Get("json"), ",")
			fields = append(fields, name)
		}
		slices.Sort(fields)
		if diff := cmp.Diff(fields, slices.Sorted(maps.Keys(tt.properties))); diff != "" {
			t.Errorf("%s (-Go type +schema):\n%s", tt.name, diff)
		}
	}
}

func sampleEvents() []journal.Event {
	zero, seven := 0, 7
	rs := runStarted("build", "test", "lint", "pack", "push", "sign")
	rs.Steps[1].Label, rs.Steps[1].BuildsIn, rs.Steps[1].DependsOn = "Unit tests", "build", []string{"lint"}
	return []journal.Event{
		rs,
		{Type: journal.CaptureFinished, Capture: &journal.Capture{ID: "c1", Files: 3, Changed: 1, Bytes: 10, DurationMS: 1.5}},
		{Type: journal.Notice, Step: "build", Message: "no memory limit"},
		started("build"),
		{
			Type: journal.StepFinished, Step: "build", Status: journal.Passed, ExitCode: &zero, DurationMS: 12.25,
			Snapshot: "s1", Usage: &journal.Usage{UserMS: 1, SystemMS: 2, PeakMemory: 3},
		},
		started("test"),
		{Type: journal.StepFinished, Step: "test", Status: journal.Failed, ExitCode: &seven, Signal: "SIGKILL", OutOfMemory: true},
		{Type: journal.StepFinished, Step: "lint", Status: journal.Skipped, Cause: "test"},
		{Type: journal.StepFinished, Step: "pack", Status: journal.InfraFailed, Error: &journal.Error{Op: "mount", Kind: "internal", Temporary: true, Message: "no"}},
		{Type: journal.RunCancelling, Message: "interrupted by the user"},
		{Type: journal.StepFinished, Step: "push", Status: journal.Cancelled},
		{Type: journal.StepFinished, Step: "sign", Status: journal.Cached},
		{Type: journal.RunFinished, Status: journal.Failed, ExitCode: &zero, DurationMS: 20},
	}
}

func TestEventsFollowTheSchema(t *testing.T) {
	schema := compileSchema(t)
	w := create(t, t.TempDir(), "r1")
	add(t, w, sampleEvents()...)
	for _, line := range readLines(t, w.Dir()) {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(doc); err != nil {
			t.Errorf("%s\n%v", line, err)
		}
	}
}

func TestSchemaRefuses(t *testing.T) {
	schema := compileSchema(t)
	head := `"seq":1,"time":"2026-11-24T23:05:12Z","run_id":"r1"`
	for _, bad := range []string{
		`{"type":"notice","message":"x"}`,
		`{"type":"run_started",` + head + `,"pipeline":"ci","version":2}`,
		`{"type":"step_finished",` + head + `,"step":"a"}`,
		`{"type":"step_finished",` + head + `,"step":"a","status":"skipped"}`,
		`{"type":"step_finished",` + head + `,"step":"../a","status":"passed"}`,
		`{"type":"run_finished",` + head + `,"status":"skipped"}`,
		`{"type":"notice","message":"x","seq":1,"time":"yesterday","run_id":"r1"}`,
	} {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(bad))
		if err != nil {
			t.Fatal(err)
		}
		if schema.Validate(doc) == nil {
			t.Errorf("the schema accepts %s", bad)
		}
	}
}

func TestEventsComeBackAsTheyWere(t *testing.T) {
	w := create(t, t.TempDir(), "r1")
	add(t, w, sampleEvents()...)
	got, err := w.Run().Events()
	if err != nil {
		t.Fatal(err)
	}
	checkSeq(t, got)
	want := sampleEvents()
	want[0].Version = journal.SchemaVersion
	for i := range got {
		if got[i].RunID != "r1" || got[i].Time.Location() != time.UTC || got[i].Time.IsZero() {
			t.Errorf("event %d is stamped %q and %v", i+1, got[i].RunID, got[i].Time)
		}
		got[i].Seq, got[i].RunID, got[i].Time = 0, "", time.Time{}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-written +read):\n%s", diff)
	}
}
