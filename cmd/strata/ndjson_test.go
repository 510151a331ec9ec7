package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"
)

// ndjson is the command `ndjson FILE DIR` of scripts: every line of FILE is an
// event, numbered without gaps, or a piece of output, and all are of one run.
// It writes the run's ID to DIR/id, the events to DIR/events.ndjson, and the
// output of each step to a file with the step's name.
func ndjson(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: ndjson FILE DIR")
	}
	dir := ts.MkAbs(args[1])
	ts.Check(os.Mkdir(dir, 0o755))
	files := map[string][]byte{}
	var runID string
	var seq uint64
	for line := range bytes.Lines([]byte(ts.ReadFile(args[0]))) {
		var l struct {
			Type  string
			Seq   uint64
			Time  string
			RunID string `json:"run_id"`
			Step  string
			Text  string
			Data  []byte
		}
		if err := json.Unmarshal(line, &l); err != nil {
			ts.Fatalf("%q: %v", line, err)
		}
		if runID == "" {
			runID = l.RunID
		}
		if l.RunID == "" || l.RunID != runID {
			ts.Fatalf("this is no line of run %s: %s", runID, line)
		}
		if l.Type == "step_output" {
			files[l.Step] = append(append(files[l.Step], l.Text...), l.Data...)
			continue
		}
		if seq++; l.Type == "" || l.Seq != seq || l.Time == "" {
			ts.Fatalf("this is no event number %d: %s", seq, line)
		}
		files["events.ndjson"] = append(files["events.ndjson"], line...)
	}
	files["id"] = []byte(runID)
	for name, data := range files {
		ts.Check(os.WriteFile(filepath.Join(dir, name), data, 0o644))
	}
}
