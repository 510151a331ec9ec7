package plan

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/strata-ci/strata/pipeline"
)

// Every text about a decision is in this file.

const (
	messagePolicy  = "its cache policy is none"
	messageNoCache = "--no-cache was given"
)

func messageHit(o Origin) string { return "nothing changed since run " + o.Run }

func messageRunner(name string) string {
	return fmt.Sprintf("the runner %q keeps no results", name)
}

func messageParentsRunner(step, name string) string {
	return fmt.Sprintf("the runner %q of the step %s, which it builds in, keeps no results", name, step)
}

func messageTTL(age, ttl time.Duration) string {
	return fmt.Sprintf("its result is %s old, and the policy allows %s", span(age), pipeline.Duration(ttl))
}

func messageFuture(ahead time.Duration) string {
	return fmt.Sprintf("its result is from %s in the future: the clock was set back, so that its age is unknown", span(ahead))
}

func messageParent(step string) string {
	return fmt.Sprintf("the result of the step %s, which it builds in, is renewed by its ttl, and its own is from before", step)
}

func messageDamaged(what error) string { return fmt.Sprintf("its result is damaged: %v", what) }

func messageFailed(last *LastEnd) string {
	how := map[string]string{
		"failed": "it failed last time", "timed_out": "it ran out of time last time", "cancelled": "it was cancelled last time",
		"infra_failed": "the infrastructure failed last time", "interrupted": "it was interrupted last time",
	}[last.Status]
	if how == "" {
		how = "it did not pass last time"
	}
	return how + ", in run " + last.Run
}

func messageGone(g *Gone, now time.Time) string {
	when := ""
	if ago := now.Sub(g.Time); ago > 0 {
		when = " " + span(ago) + " ago"
	}
	return fmt.Sprintf("its result was removed%s %s", when, g.Rule)
}

func messageNotKept(last *LastEnd) string {
	return fmt.Sprintf("it passed in run %s, but its result was not kept", last.Run)
}

const (
	messageNew       = "it never ran"
	messageNoResults = "it ran before, but no result of it was kept"
)

// messageChanged says what changed first, and where that came from. Its own
// changes come before those of the steps that it builds in.
func messageChanged(list []Change, allInputs bool) string {
	if len(list) == 0 {
		return "it changed"
	}
	news := whatIsNew(list)
	text := news[0].Text()
	if news[0].Component == partParent && allInputs {
		text += "; all files of the workspace count for it, for it has no cache policy and no inputs"
	}
	switch more := len(news) - 1; more {
	case 0:
		return text
	case 1:
		return text + ", and 1 more change"
	default:
		return fmt.Sprintf("%s, and %d more changes", text, more)
	}
}

// whatIsNew leaves out that a step changed where its cause is listed, and what
// changed for several steps in the same way, such as an input of both.
func whatIsNew(list []Change) []Change {
	news := make([]Change, 0, len(list))
	told := map[Change]bool{}
	for i, c := range list {
		what := c
		what.Step = ""
		if told[what] || c.Component == partParent && i+1 < len(list) && list[i+1].Step != "" {
			continue
		}
		told[what] = true
		news = append(news, c)
	}
	return news
}

// Text says what the change is, in part of a line.
func (c Change) Text() string {
	text := c.text()
	if c.Step != "" {
		return c.Step + " changed: " + text
	}
	return text
}

func (c Change) text() string {
	switch c.Component {
	case partParent:
		if c.Name == "" {
			return "it builds in another step or in none"
		}
		return "the step " + c.Name + ", which it builds in, changed"
	case partWorkspace:
		return "the files of the workspace changed"
	case partInput:
		return c.inputText()
	case partEnv:
		return "the environment variable " + shown(c.Name) + " " + verb(c.After)
	case partImage:
		if c.Name == "name" {
			return "the image" + c.fromTo()
		}
		return "the image's " + c.Name + " changed"
	case partCommand:
		if c.Name == "" || c.Before == "" && c.After == "" {
			return strings.TrimSpace("the command's "+c.Name) + " changed"
		}
		return "the command changed: " + c.Name + c.fromTo()
	}
	return componentNames[c.Component] + c.fromTo()
}

var componentNames = map[string]string{
	partVersion: "the meaning of cache keys", partRunner: "the runner", partArgs: "the runner's arguments",
	partPlatform: "the platform", partDir: "the directory", partNetwork: "the network", partCPUs: "the limit of CPUs",
	partMemory: "the limit of memory", partPatterns: "the list of inputs",
}

func (c Change) inputText() string {
	switch {
	case c.Name == "":
		return "the inputs changed"
	case c.After == added || c.After == removed:
		return "the input " + shown(c.Name) + " " + verb(c.After)
	case c.Before != "":
		return "the input " + shown(c.Name) + c.fromTo()
	}
	return "the input " + shown(c.Name) + " changed"
}

func verb(after string) string {
	switch after {
	case added:
		return "is new"
	case removed:
		return "is gone"
	}
	return "changed"
}

// fromTo says what was and what is.
func (c Change) fromTo() string {
	switch {
	case c.Before == "":
		return ": " + shown(c.After) + " is new"
	case c.After == "":
		return ": " + shown(c.Before) + " is gone"
	}
	return ": " + shown(c.Before) + " → " + shown(c.After)
}

// shown is a text on one line, quoted where a terminal could not show it.
func shown(s string) string {
	if quoted := strconv.Quote(s); quoted[1:len(quoted)-1] != s && strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return quoted
	}
	return s
}

func noMatch(pattern, near string) string {
	hint := ""
	if near != "" {
		hint = fmt.Sprintf(" (did you mean %q?)", near)
	}
	return fmt.Sprintf("the pattern %q matches nothing in the workspace%s: correct it, or see whether an ignore file leaves those files out", pattern, hint)
}

// span is a duration as people say it, with its largest unit or two.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Second:
		return "less than a second"
	case d < time.Minute:
		return d.Truncate(time.Second).String()
	case d < day:
		return pipeline.Duration(d.Truncate(time.Minute)).String()
	}
	days := int64(d / day)
	if days == 1 {
		return "1 day"
	}
	return strconv.FormatInt(days, 10) + " days"
}
