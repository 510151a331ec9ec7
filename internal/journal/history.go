package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// idAlphabet is Crockford's base 32 in lower case, which sorts as ASCII does.
const idAlphabet = "0123456789abcdefghjkmnpqrstvwxyz"

// NewRunID returns an ID such as 20261124-230512-k3f9a2: the time in UTC, to
// the millisecond with the first two characters of the last part, and four
// characters of chance. IDs sort by time. Where random gives nothing, chance
// is left out; Create refuses an ID that is taken.
func NewRunID(now time.Time, random io.Reader) string {
	now = now.UTC()
	var chance [4]byte
	_, _ = io.ReadFull(random, chance[:])
	ms := now.Nanosecond() / int(time.Millisecond)
	tail := []byte{idAlphabet[ms/32], idAlphabet[ms%32]}
	for _, b := range chance {
		tail = append(tail, idAlphabet[b%32])
	}
	return now.Format("20060102-150405-") + string(tail)
}

// runIDs returns the names of all directories that can be runs, oldest first.
func runIDs(runsDir string) ([]string, error) {
	entries, err := os.ReadDir(runsDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the runs: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && checkName("run", e.Name()) == nil {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// Summary is a run in a list of runs.
type Summary struct {
	ID         string         `json:"id"`
	Pipeline   string         `json:"pipeline"`
	Project    string         `json:"project"`
	Started    time.Time      `json:"started"`
	DurationMS float64        `json:"duration_ms"`         // so far, where the run has not ended
	Status     Status         `json:"status,omitempty"`    // empty where the run has not ended
	Live       bool           `json:"live,omitempty"`      // its process lives
	ExitCode   *int           `json:"exit_code,omitempty"` // of strata
	Steps      int            `json:"steps"`
	ByStatus   map[Status]int `json:"by_status"`         // of the steps that have ended
	Damaged    string         `json:"damaged,omitempty"` // why the journal cannot be read to its end
}

// Summarize reads the run in dir, and sums up the state that its journal leads
// to; ok is false where there is none, or none yet. A journal that cannot be read
// to its end is a summary of what could be, with Damaged set.
func Summarize(dir string) (s Summary, state RunState, ok bool) {
	s = Summary{ID: filepath.Base(dir), ByStatus: make(map[Status]int)}
	live, liveErr := alive(dir) // before the journal is read: a run that ends meanwhile has ended
	events, err := (&Run{dir: dir}).Events()
	if errors.Is(err, fs.ErrNotExist) {
		return Summary{}, RunState{}, false
	}
	if err := errors.Join(err, liveErr); err != nil {
		s.Damaged = err.Error()
	}
	if len(events) == 0 {
		return s, state, s.Damaged != ""
	}
	state = Fold(events)
	s.Pipeline, s.Project, s.Started = state.Pipeline, state.Project, state.Started
	s.DurationMS = state.Last.Sub(state.Started).Seconds() * 1000
	s.Steps = len(state.Steps)
	s.Status = state.Status()
	s.Live = live && state.End == nil
	if state.End != nil {
		s.DurationMS, s.ExitCode = state.End.DurationMS, state.End.ExitCode
	}
	for i := range state.Steps {
		if status := state.Steps[i].Status(); status != "" {
			s.ByStatus[status]++
		}
	}
	return s, state, true
}

// Find returns the run that query names: its ID, a beginning of it or of its
// last part that no other run shares, or the latest run for "latest" and "".
// An error says which runs could have been meant.
func Find(runsDir, query string) (*Run, error) {
	if checkName("run", query) == nil {
		run, err := Open(filepath.Join(runsDir, query))
		if !errors.Is(err, fs.ErrNotExist) {
			return run, err
		}
	}
	ids, err := runIDs(runsDir)
	if err != nil {
		return nil, err
	}
	id, err := match(ids, query, func(id string) bool {
		_, err := Open(filepath.Join(runsDir, id))
		return !errors.Is(err, fs.ErrNotExist)
	})
	if err != nil {
		return nil, err
	}
	return Open(filepath.Join(runsDir, id))
}

// match picks the ID that begins as query does, from IDs sorted by age. Only those that
// it may return are asked whether their runs have begun.
func match(ids []string, query string, begun func(id string) bool) (string, error) {
	if query == "" || query == "latest" {
		for _, id := range slices.Backward(ids) {
			if begun(id) {
				return id, nil
			}
		}
		return "", errNoRuns
	}
	var matches []string
	for _, id := range ids {
		if (strings.HasPrefix(id, query) || strings.HasPrefix(lastPart(id), query)) && begun(id) {
			matches = append(matches, id)
		}
	}
	switch len(matches) {
	case 0:
		return "", noRun(ids, query, begun)
	case 1:
		return matches[0], nil
	}
	return "", fmt.Errorf("%d runs begin with %q: %s; write more of the one you mean", len(matches), query, newest(matches))
}

var errNoRuns = errors.New("there are no runs yet: strata run starts one")

func noRun(ids []string, query string, begun func(id string) bool) error {
	ids = slices.Clone(ids)
	for len(ids) > 0 {
		id := nearest(ids, query)
		if begun(id) {
			return fmt.Errorf("no run %.80q: did you mean %s?", query, id)
		}
		ids = slices.DeleteFunc(ids, func(other string) bool { return other == id })
	}
	return errNoRuns
}

func lastPart(id string) string { return id[strings.LastIndexByte(id, '-')+1:] }

// newest names up to three of the IDs, the newest first.
func newest(ids []string) string {
	const most = 3
	last := slices.Clone(ids[max(0, len(ids)-most):])
	slices.Reverse(last)
	list := strings.Join(last, ", ")
	if len(ids) > most {
		list += ", …"
	}
	return list
}

// nearest returns the ID that shares the longest beginning with query, the
// newest of several.
func nearest(ids []string, query string) string {
	return slices.MaxFunc(ids, func(a, b string) int {
		if c := common(a, query) - common(b, query); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
}

// common returns the length of the longest beginning that a run's ID, or its
// last part, shares with query.
func common(id, query string) int {
	return max(commonPrefix(id, query), commonPrefix(lastPart(id), query))
}

func commonPrefix(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// Dirs returns the directories of all runs, the oldest first.
func Dirs(runsDir string) ([]string, error) {
	ids, err := runIDs(runsDir)
	for i, id := range ids {
		ids[i] = filepath.Join(runsDir, id)
	}
	return ids, err
}
