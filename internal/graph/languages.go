package graph

import (
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/strata-ci/strata/pipeline"
)

// DOT writes p in Graphviz's language. Edges of builds_in are solid, those of
// depends_on dashed.
func DOT(w io.Writer, p *pipeline.Pipeline) error {
	var b strings.Builder
	fmt.Fprintf(&b, "digraph %s {\n", quoteDOT(p.Name))
	b.WriteString("  rankdir=LR;\n")
	b.WriteString("  node [shape=box, style=rounded, fontname=\"monospace\"];\n")
	for i := range p.Steps {
		s := &p.Steps[i]
		fmt.Fprintf(&b, "  %s [label=%s];\n", quoteDOT(s.Name), quoteDOT(title(s)))
	}
	for _, e := range edges(p) {
		style := ""
		if e.order {
			style = " [style=dashed]"
		}
		fmt.Fprintf(&b, "  %s -> %s%s;\n", quoteDOT(p.Steps[e.from].Name), quoteDOT(p.Steps[e.to].Name), style)
	}
	b.WriteString("}\n")
	return write(w, b.String())
}

// quoteDOT returns s as a double-quoted ID of DOT, in which Graphviz reads
// backslash escapes and, in labels, HTML entities.
func quoteDOT(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "&", "&amp;").Replace(oneLine(s)) + `"`
}

// Mermaid writes p as a Mermaid flowchart, which many places that show Markdown
// draw. Edges of builds_in are solid, those of depends_on dashed.
func Mermaid(w io.Writer, p *pipeline.Pipeline) error {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	for i := range p.Steps {
		fmt.Fprintf(&b, "  s%d[\"%s\"]\n", i, escapeMermaid(title(&p.Steps[i])))
	}
	for _, e := range edges(p) {
		arrow := "-->"
		if e.order {
			arrow = "-.->"
		}
		fmt.Fprintf(&b, "  s%d %s s%d\n", e.from, arrow, e.to)
	}
	return write(w, b.String())
}

// escapeMermaid writes all but letters, digits and harmless punctuation as
// Mermaid's character codes (#35; for #): Mermaid's syntax, its directives
// (%%{…}%%), Markdown and HTML all have a meaning within its strings.
func escapeMermaid(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune(" .,:/+=", r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "#%d;", r)
		}
	}
	return b.String()
}
