package plan

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// Explain writes out what is behind a decision's message, for people, in
// indented lines: whose result was used, or what changed since an earlier one.
// It needs nothing but the decision.
func Explain(d *Decision) string {
	var b strings.Builder
	if d.Hit() && d.Entry != nil {
		fmt.Fprintf(&b, "  its result is from run %s%s; the command took %s\n", d.Entry.Origin.Run, at(d.Entry.Origin.Time), round(d.Entry.Duration))
	}
	if d.Gone != nil {
		fmt.Fprintf(&b, "  the result of run %s was removed%s %s\n", d.Gone.Origin.Run, at(d.Gone.Time), d.Gone.Rule)
	}
	switch {
	case d.Nearest == nil || d.Gone != nil:
	case d.Reason == ReasonChanged:
		fmt.Fprintf(&b, "  compared with the result of run %s%s\n", d.Nearest.Run, at(d.Nearest.Time))
	default:
		fmt.Fprintf(&b, "  there is a result of run %s%s\n", d.Nearest.Run, at(d.Nearest.Time))
	}
	explainChanges(&b, d)
	return b.String()
}

func explainChanges(b *strings.Builder, d *Decision) {
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, c := range d.Changes {
		where := c.Component
		if c.Step != "" {
			where = c.Step + ": " + where
		}
		what := c.After
		switch {
		case c.Before != "" && c.After == "":
			what = shown(c.Before) + " → nothing"
		case c.Before != "":
			what = shown(c.Before) + " → " + shown(c.After)
		case c.After == "":
			what = changed
		case c.Component != partInput && c.Component != partEnv:
			what = "nothing → " + shown(c.After)
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\n", where, shown(c.Name), what)
	}
	_ = w.Flush() // a strings.Builder takes everything
	if d.MoreChanges > 0 {
		fmt.Fprintf(b, "  and %d more\n", d.MoreChanges)
	}
}

func at(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " (" + t.Format("2006-01-02 15:04:05") + ")"
}

func round(d time.Duration) time.Duration {
	if d > 10*time.Second {
		return d.Round(time.Second)
	}
	return d.Round(time.Millisecond)
}
