package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/strata-ci/strata/internal/cache"
	"github.com/strata-ci/strata/internal/engine"
	"github.com/strata-ci/strata/internal/filetree"
	"github.com/strata-ci/strata/internal/render"
	"github.com/strata-ci/strata/internal/suggest"
	"github.com/strata-ci/strata/pipeline"
)

// cacheCmd is `strata cache`.
type cacheCmd struct {
	Ls    cacheLsCmd    `cmd:"" help:"List cached results, with what each holds and saves."`
	Du    cacheDuCmd    `cmd:"" help:"Tell what the state directory occupies on the disk."`
	Prune cachePruneCmd `cmd:"" help:"Remove cached results."`
	Pin   cachePinCmd   `cmd:"" help:"Keep results whatever the limits say."`
}

// listedResult is a cached result as `strata cache ls --json` prints it.
type listedResult struct {
	Key        string         `json:"key"`
	Project    string         `json:"project"`
	Pipeline   string         `json:"pipeline"`
	Step       string         `json:"step"`
	Runner     string         `json:"runner"`
	Snapshot   string         `json:"snapshot"`
	Run        string         `json:"run"`
	Born       time.Time      `json:"born"`
	Used       time.Time      `json:"used"`
	Uses       int            `json:"uses"`
	Bytes      pipeline.Bytes `json:"bytes"`       // all that its snapshot holds
	OwnBytes   pipeline.Bytes `json:"own_bytes"`   // of that, what nothing else holds
	DurationMS float64        `json:"duration_ms"` // what each use saves
	SavedMS    float64        `json:"saved_ms"`    // what all uses have saved
	Pinned     bool           `json:"pinned,omitempty"`
}

type cacheLsCmd struct {
	All  bool `help:"List the results of all projects."`
	JSON bool `help:"Print a JSON array."`
}

// Run lists the results, the most recently used first.
func (c *cacheLsCmd) Run(ctx context.Context, a *app) error {
	results, root, err := a.results(ctx, c.All)
	switch {
	case err != nil:
		return err
	case c.JSON:
		list := make([]listedResult, len(results))
		for i := range results {
			list[i] = listed(&results[i])
		}
		return writeJSON(a.stdout, list)
	case len(results) == 0 && c.All:
		a.say("there are no cached results: steps with a cache policy leave some")
		return nil
	case len(results) == 0:
		a.say("%s has no cached results; `strata cache ls --all` lists those of other projects", root)
		return nil
	}
	t := table{{"KEY", "PIPELINE", "STEP", "USED", "SIZE", "OWN", "TOOK", "USES", "SAVED"}}
	if c.All {
		t[0] = append(t[0], "PROJECT")
	}
	for i := range results {
		r := &results[i]
		step := r.Step.Step
		if r.Pinned {
			step += " (pinned)"
		}
		row := []string{
			shortKey(r), r.Step.Pipeline, step, ago(a.now(), r.UsedAt), r.Bytes.String(), r.Own.String(),
			render.Duration(r.Duration), fmt.Sprint(r.Uses), render.Duration(r.Saved()),
		}
		if c.All {
			row = append(row, r.Step.Project)
		}
		t = append(t, row)
	}
	return t.write(a.stdout, plainCell)
}

// shortKeyDigits is how much of a key lists show: enough to tell millions apart.
const shortKeyDigits = 12

func shortKey(r *cache.Listed) string { return r.Key.String()[:shortKeyDigits] }

func listed(r *cache.Listed) listedResult {
	return listedResult{
		Key: r.Key.String(), Project: r.Step.Project, Pipeline: r.Step.Pipeline, Step: r.Step.Step, Runner: r.Runner,
		Snapshot: string(r.Ref), Run: r.Run, Born: r.Born.UTC(), Used: r.UsedAt.UTC(), Uses: r.Uses, Bytes: r.Bytes, OwnBytes: r.Own,
		DurationMS: float64(r.Duration) / float64(time.Millisecond), SavedMS: float64(r.Saved()) / float64(time.Millisecond), Pinned: r.Pinned,
	}
}

// results returns the project's results, or those of all, and the project's root.
func (a *app) results(ctx context.Context, all bool) (list []cache.Listed, root string, err error) {
	if root, err = a.here(); err != nil {
		return nil, "", err
	}
	err = a.withStore(ctx, func(s *store) error {
		everything, err := s.cache.List(ctx)
		for _, r := range everything {
			if all || r.Step.Project == root {
				list = append(list, r)
			}
		}
		return err
	})
	return list, root, err
}

// diskUse is what `strata cache du --json` prints, in bytes of disk blocks.
type diskUse struct {
	cache.Usage
	Captures     pipeline.Bytes `json:"captures"` // copies of workspaces
	Runs         pipeline.Bytes `json:"runs"`     // journals and logs
	Records      pipeline.Bytes `json:"records"`
	Other        pipeline.Bytes `json:"other"` // what running steps use, and descriptions of the machine
	Total        pipeline.Bytes `json:"total"`
	Free         pipeline.Bytes `json:"free"` // of the file system
	MaxBytes     pipeline.Bytes `json:"max_bytes"`
	MinFreeBytes pipeline.Bytes `json:"min_free_bytes"`
	KeepBytes    pipeline.Bytes `json:"keep_bytes"`
}

type cacheDuCmd struct {
	JSON bool `help:"Print a JSON object."`
}

// Run measures the whole state directory.
func (c *cacheDuCmd) Run(ctx context.Context, a *app) error {
	var use diskUse
	var home string
	err := a.withStore(ctx, func(s *store) (err error) {
		home = s.home
		use, err = s.diskUse(ctx)
		return err
	})
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(a.stdout, use)
	}
	t := table{
		{"cached results", use.Results.String(), fmt.Sprintf("%s, %v of it pinned", render.Count(use.Entries, "result"), use.Pinned)},
		{"kept failures", use.Failures.String(), render.Count(use.Failed, "failed step")},
		{"to be removed", use.Leaving.String(), ""},
		{"captures", use.Captures.String(), "copies of workspaces"},
		{"runs", use.Runs.String(), "journals and logs"},
		{"records", use.Records.String(), ""},
		{"other", use.Other.String(), "running steps, descriptions of the machine"},
		{"total", use.Total.String(), home},
		{"free", use.Free.String(), "on that file system"},
		{"limits", use.MaxBytes.String(), fmt.Sprintf("for results and failures; leave %v free, but keep %v", use.MinFreeBytes, use.KeepBytes)},
	}
	return t.write(a.stdout, plainCell)
}

func (s *store) diskUse(ctx context.Context) (use diskUse, err error) {
	use.MaxBytes, use.MinFreeBytes, use.KeepBytes = s.limits.MaxBytes, s.limits.MinFreeBytes, s.limits.KeepBytes
	if use.Usage, err = s.cache.Usage(ctx); err != nil {
		return use, err
	}
	entries, err := os.ReadDir(s.home)
	if errors.Is(err, fs.ErrNotExist) {
		return use, nil
	}
	if err != nil {
		return use, err
	}
	for _, e := range entries {
		size, err := filetree.Blocks(ctx, filepath.Join(s.home, e.Name()))
		if err != nil {
			return use, err
		}
		use.Total += pipeline.Bytes(size)
		switch {
		case e.Name() == "projects":
			use.Captures = pipeline.Bytes(size)
		case e.Name() == "runs":
			use.Runs = pipeline.Bytes(size)
		case strings.HasPrefix(e.Name(), "records."):
			use.Records += pipeline.Bytes(size)
		}
	}
	use.Other = max(use.Total-use.Captures-use.Runs-use.Records-use.Usage.Total(), 0)
	free, err := filetree.Free(s.home)
	use.Free = pipeline.Bytes(free)
	return use, err
}

type cachePruneCmd struct {
	Step   []string `arg:"" optional:"" help:"Remove only the results of these steps."`
	All    bool     `help:"Remove the results of all projects, not of this one alone."`
	Unused string   `placeholder:"AGE" help:"Remove only what was not used for so long, such as 7d."`
	Size   string   `name:"max-bytes" placeholder:"SIZE" help:"Remove the least recently used results of all projects until all that is kept is at most this, such as 5GiB."`
	DryRun bool     `help:"Tell what would be removed, and remove nothing."`
}

// Run removes results, but none that is pinned, and captures that were not used
// for long.
func (c *cachePruneCmd) Run(ctx context.Context, a *app) error {
	sel, limit, err := c.parse(a)
	if err != nil {
		return err
	}
	if c.DryRun {
		return c.tell(ctx, a, sel)
	}
	return a.withRunners(ctx, func(s *store, r *runners) error {
		if err := c.known(ctx, s, sel); err != nil {
			return err
		}
		var report cache.Report
		var err error
		if c.Size != "" {
			limits := s.limits
			limits.MaxBytes = limit
			report, err = s.cache.Collect(ctx, limits, r.reapers(), func() (int64, error) { return filetree.Free(s.home) })
		} else {
			report, err = s.cache.Prune(ctx, sel, r.reapers())
		}
		captures, clearErr := engine.ClearCaptures(s.home, a.now())
		removed := render.Count(report.Removed, "result")
		if report.Failures > 0 {
			removed += " and the files of " + render.Count(report.Failures, "failed step")
		}
		a.say("removed %s, which frees %v; %v are kept", removed, report.Freed, report.Used)
		if captures > 0 {
			a.say("removed the captures of %s that were not used for 30 days", render.Count(captures, "project"))
		}
		return errors.Join(err, clearErr)
	})
}

func (c *cachePruneCmd) parse(a *app) (sel cache.Selection, limit pipeline.Bytes, err error) {
	sel.Steps = c.Step
	if c.Unused != "" {
		age, err := pipeline.ParseDuration(c.Unused)
		if err != nil {
			return sel, 0, invalidf("--unused: %w", err)
		}
		sel.Unused = time.Duration(age)
	}
	if c.Size != "" {
		if len(c.Step) > 0 || c.Unused != "" || c.DryRun {
			return sel, 0, invalidf("--max-bytes goes by what was used last, in all projects: it takes no steps, no --unused and no --dry-run")
		}
		if limit, err = pipeline.ParseBytes(c.Size); err != nil && c.Size != "0" {
			return sel, 0, invalidf("--max-bytes: %w", err)
		}
	}
	if !c.All {
		if sel.Project, err = a.here(); err != nil {
			return sel, 0, err
		}
	}
	return sel, limit, nil
}

// known returns an error for a step of which there is no result.
func (c *cachePruneCmd) known(ctx context.Context, s *store, sel cache.Selection) error {
	if len(sel.Steps) == 0 {
		return nil
	}
	results, err := s.cache.List(ctx)
	if err != nil {
		return err
	}
	return knownResults(results, sel.Project, sel.Steps)
}

func knownResults(results []cache.Listed, project string, steps []string) error {
	names := map[string]bool{}
	for i := range results {
		if project == "" || results[i].Step.Project == project {
			names[results[i].Step.Step] = true
		}
	}
	var all []string
	for name := range names {
		all = append(all, name)
	}
	for _, step := range steps {
		if !names[step] {
			return invalidf("step %q has no cached result%s; see strata cache ls", step, suggest.Hint(step, all))
		}
	}
	return nil
}

// tell lists what would be removed.
func (c *cachePruneCmd) tell(ctx context.Context, a *app, sel cache.Selection) error {
	return a.withStore(ctx, func(s *store) error {
		if err := c.known(ctx, s, sel); err != nil {
			return err
		}
		results, err := s.cache.List(ctx)
		if err != nil {
			return err
		}
		t := table{{"KEY", "PIPELINE", "STEP", "USED", "OWN"}}
		for i := range results {
			if r := &results[i]; sel.Matches(r, a.now()) {
				t = append(t, []string{shortKey(r), r.Step.Pipeline, r.Step.Step, ago(a.now(), r.UsedAt), r.Own.String()})
			}
		}
		a.say("%s would be removed", render.Count(len(t)-1, "result"))
		if len(t) == 1 {
			return nil
		}
		return t.write(a.stdout, plainCell)
	})
}

type cachePinCmd struct {
	Result []string `arg:"" name:"result" help:"Names of steps of this project, or beginnings of keys of any."`
	Remove bool     `help:"Let them go again as the limits say."`
}

// minKeyDigits is the shortest beginning of a key that is taken for one.
const minKeyDigits = 6

// Run pins the results, or ends that.
func (c *cachePinCmd) Run(ctx context.Context, a *app) error {
	root, err := a.here()
	if err != nil {
		return err
	}
	return a.withStore(ctx, func(s *store) error {
		results, err := s.cache.List(ctx)
		if err != nil {
			return err
		}
		count := 0
		for _, word := range c.Result {
			found := matchingResults(results, root, word)
			if len(found) == 0 {
				return knownResults(results, root, []string{word})
			}
			for _, r := range found {
				if err := s.cache.Pin(ctx, r.Key, !c.Remove); err != nil {
					return err
				}
				count++
			}
		}
		verb := "pinned"
		if c.Remove {
			verb = "not pinned any more"
		}
		a.say("%s: %s", verb, render.Count(count, "result"))
		return nil
	})
}

// matchingResults returns the results of a step, or those whose key begins so.
func matchingResults(results []cache.Listed, root, word string) (found []*cache.Listed) {
	_, err := hex.DecodeString(word[:len(word)&^1])
	isKey := err == nil && len(word) >= minKeyDigits
	for i := range results {
		r := &results[i]
		if r.Step.Project == root && r.Step.Step == word || isKey && strings.HasPrefix(r.Key.String(), word) {
			found = append(found, r)
		}
	}
	return found
}
