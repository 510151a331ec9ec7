//go:build linux && faults

package crashtest

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// damages are what may happen to the files of the state directory, each with
// what the next run has to say about it; "" is for what a run does without.
var damages = []struct {
	name, files, says string
	damage            func(path string) error
}{
	{"a layer's file, flipped", "containers/layers/*/*/a.out", "was changed", flip},
	{"a layer's file, cut off", "containers/layers/*/*/a.out", "was changed", empty},
	{"a layer's file, deleted", "containers/layers/*/*/b.out", "was changed", os.RemoveAll},
	{"a layer's file, added", "containers/layers/*/*/a.out", "was changed", add},
	{"layers, gone", "containers/layers/*", "is missing", os.RemoveAll},
	{"all layers, gone", "containers/layers", "is missing", os.RemoveAll},
	{"the records' header", "records.db", "records.db.damaged-1", flip},
	{"the records' pages", "records.db", "records.db.damaged-1", scratchOut},
	{"the records, cut off", "records.db", "records.db.damaged-1", halve},
	{"the records, empty", "records.db", "records.db.damaged-1", empty},
	{"the records, overtaken by garbage", "records.db", "", garbageWAL},
	{"logs", "cache/logs/*/*", "", scratchOut},
	{"journals", "runs/*/journal.ndjson", "", scratchOut},
	{"what is known of the machine", "containers/machine.json", "", scratchOut},
	{"what a sandbox starts from", "containers/boot", "", os.RemoveAll},
	{"the index of the workspace", "projects/*/index", "the index is damaged", scratchOut},
	{"the layers of the workspace", "projects/*/layers/*", "", os.RemoveAll},
	{"the workspace, gone", "projects", "", os.RemoveAll},
	{"a copy of the host runner, changed", "hosts/snapshots/*/workspace/h.out", "written to", scratchOut},
	{"a copy of the host runner, gone", "hosts/snapshots/*", "does not exist any more", os.RemoveAll},
}

// TestDamage damages one thing at a time. The run after it is right, and says
// what was damaged; soon everything is there again, and nothing is said.
func TestDamage(t *testing.T) {
	for _, d := range damages {
		t.Run(d.name, func(t *testing.T) {
			s := newSite(t)
			s.rightRun("good", "nothing")
			s.rightRun("good", "nothing")
			paths, err := filepath.Glob(filepath.Join(s.home, d.files))
			if err != nil || len(paths) == 0 {
				t.Fatalf("there is no %s: %v", d.files, err)
			}
			for _, path := range paths {
				if err := d.damage(path); err != nil {
					t.Fatal(err)
				}
			}
			first := s.run(nil, runArgs("good")...)
			if err := s.check("good", first); err != nil {
				t.Fatal(err)
			}
			if said := first.stdout + first.stderr; !strings.Contains(said, d.says) {
				t.Errorf("nothing says %q: %v", d.says, first)
			}
			// A result that nothing built upon may share what was damaged: it is
			// found when that is missed.
			s.rightRun("good", d.name)
			settled := s.run(nil, runArgs("good")...)
			if err := s.check("good", settled); err != nil {
				t.Fatal(err)
			}
			for _, e := range settled.events {
				cacheable := e.Step != "look" && e.Step != "hello"
				if e.Type == "notice" || e.Type == "step_finished" && cacheable && e.Status != "cached" {
					t.Errorf("after that, not all is as before: %v", settled)
				}
			}
			if settled.stderr != "" {
				t.Errorf("it is told twice: %v", settled)
			}
			for _, name := range s.names("") {
				if strings.HasPrefix(name, "records.db.damaged-") { // for whoever wants to look into it
					if err := os.Remove(filepath.Join(s.home, name)); err != nil {
						t.Fatal(err)
					}
				}
			}
			s.clean(d.name)
		})
	}
}

func flip(path string) error {
	return change(path, func(data []byte) []byte { data[0] ^= 1; return data })
}

func empty(path string) error { return change(path, func([]byte) []byte { return nil }) }

func halve(path string) error {
	return change(path, func(data []byte) []byte { return data[:len(data)/2] })
}

// scratchOut leaves the first page, where there is more than one.
func scratchOut(path string) error {
	return change(path, func(data []byte) []byte {
		const page = 4096
		from := min(page, len(data)/(page+1)*page)
		return append(data[:from], bytes.Repeat([]byte{0xa5}, len(data)-from)...)
	})
}

func change(path string, fn func([]byte) []byte) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, fn(data), 0o600)
}

func add(path string) error {
	return os.WriteFile(filepath.Join(filepath.Dir(path), "added"), nil, 0o600)
}

func garbageWAL(path string) error {
	return os.WriteFile(path+"-wal", bytes.Repeat([]byte{0xa5}, 9000), 0o600)
}
