package graph

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/mattn/go-runewidth"

	"github.com/strata-ci/strata/pipeline"
)

const (
	fontSize    = 13.0
	columnWidth = fontSize * 0.61 // of a monospace font's character; common ones have 0.55 to 0.61
	textPad     = 12.0            // beside a label
	columnGap   = 56.0            // for the edges between two columns
	margin      = 20.0
	header      = 30.0 // for the pipeline's name
	legend      = 34.0
	legendWidth = 250.0
	maxLabel    = 36 // columns of text in a box; the whole is in its tooltip
)

// style follows the reader's choice of light or dark.
const style = `  <style>
    svg { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
    .page { fill: #ffffff; }
    .box { fill: #f6f8fa; stroke: #8c959f; }
    .edge { fill: none; stroke: #6e7781; stroke-width: 1.5; }
    .order { stroke-dasharray: 5 4; }
    .head { fill: #6e7781; }
    text { fill: #1f2328; dominant-baseline: central; }
    .name { font-weight: bold; }
    .small { font-size: 11px; fill: #57606a; }
    @media (prefers-color-scheme: dark) {
      .page { fill: #0d1117; }
      .box { fill: #161b22; stroke: #6e7681; }
      .edge { stroke: #8b949e; }
      .head { fill: #8b949e; }
      text { fill: #e6edf3; }
      .small { fill: #8b949e; }
    }
  </style>
  <defs>
    <marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
      <path class="head" d="M0 0.5 L8 4 L0 7.5 z"/>
    </marker>
  </defs>
`

var textWidths = &runewidth.Condition{StrictEmojiNeutral: true}

// SVG writes p as a picture that needs nothing else: steps in columns from left
// to right, solid edges for builds_in and dashed ones for depends_on.
func SVG(w io.Writer, p *pipeline.Pipeline) error {
	d := &drawing{pipeline: p, edges: edges(p)}
	d.layout = arrange(len(p.Steps), d.edges)
	d.measure()
	d.open()
	for i := range d.edges {
		d.edge(i)
	}
	for i := range p.Steps {
		d.box(i)
	}
	d.legend()
	d.out.WriteString("</svg>\n")
	return write(w, d.out.String())
}

type drawing struct {
	pipeline *pipeline.Pipeline
	edges    []edge
	layout   *layout
	out      strings.Builder

	labels        []string
	lefts, rights []float64 // of the columns
	width, height float64
}

// measure finds the columns' places and the picture's size.
func (d *drawing) measure() {
	widest := make([]float64, len(d.layout.columns))
	for i := range d.pipeline.Steps {
		label := textWidths.Truncate(title(&d.pipeline.Steps[i]), maxLabel, "…")
		d.labels = append(d.labels, label)
		c := d.layout.places[i].column
		widest[c] = max(widest[c], float64(textWidths.StringWidth(label))*columnWidth+2*textPad)
	}
	x := margin
	for _, w := range widest {
		d.lefts, d.rights = append(d.lefts, x), append(d.rights, x+w)
		x += w + columnGap
	}
	bottom := 0.0
	for _, p := range d.layout.places {
		bottom = max(bottom, p.y+p.height/2)
	}
	name := 2*margin + float64(textWidths.StringWidth(oneLine(d.pipeline.Name)))*columnWidth
	d.width = max(x-columnGap+margin, legendWidth, name)
	d.height = margin + header + bottom + legend + margin
}

func (d *drawing) open() {
	fmt.Fprintf(&d.out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %s %s" width="%[1]s" height="%[2]s" role="img">`+"\n",
		number(d.width), number(d.height))
	fmt.Fprintf(&d.out, "  <title>Pipeline %s</title>\n", escape(oneLine(d.pipeline.Name)))
	d.out.WriteString(style)
	fmt.Fprintf(&d.out, `  <rect class="page" width="%s" height="%s"/>`+"\n", number(d.width), number(d.height))
	fmt.Fprintf(&d.out, `  <text class="name" x="%s" y="%s">%s</text>`+"\n", number(margin), number(margin+8), escape(oneLine(d.pipeline.Name)))
}

// box draws a step, as wide as its column.
func (d *drawing) box(i int) {
	s, p := &d.pipeline.Steps[i], d.layout.places[i]
	left, right, y := d.lefts[p.column], d.rights[p.column], d.y(i)
	tip := oneLine(s.Name)
	if c := oneLine(s.Command.String()); c != "" {
		tip += ": " + c
	}
	fmt.Fprintf(&d.out, "  <g><title>%s</title>", escape(tip))
	fmt.Fprintf(&d.out, `<rect class="box" x="%s" y="%s" width="%s" height="%s" rx="6"/>`,
		number(left), number(y-p.height/2), number(right-left), number(p.height))
	fmt.Fprintf(&d.out, `<text x="%s" y="%s">%s</text></g>`+"\n", number(left+textPad), number(y), escape(d.labels[i]))
}

// edge draws an edge along its chain: curves between columns, straight lines
// through them.
func (d *drawing) edge(i int) {
	chain := d.layout.chains[i]
	var path strings.Builder
	from := d.layout.places[chain[0]]
	x, y := d.rights[from.column], d.y(chain[0])
	fmt.Fprintf(&path, "M%s %s", number(x), number(y))
	for n, place := range chain[1:] {
		column := d.layout.places[place].column
		nextX, nextY := d.lefts[column], d.y(place)
		middle := (x + nextX) / 2
		fmt.Fprintf(&path, " C%s %s %[1]s %[3]s %[4]s %[3]s", number(middle), number(y), number(nextY), number(nextX))
		x, y = nextX, nextY
		if n < len(chain)-2 {
			x = d.rights[column]
			fmt.Fprintf(&path, " H%s", number(x))
		}
	}
	class := "edge"
	if d.edges[i].order {
		class = "edge order"
	}
	fmt.Fprintf(&d.out, `  <path class="%s" marker-end="url(#head)" d="%s"/>`+"\n", class, path.String())
}

func (d *drawing) legend() {
	y := d.height - margin
	for i, l := range []struct{ class, text string }{{"edge", "builds in"}, {"edge order", "depends on"}} {
		x := margin + float64(i)*115
		fmt.Fprintf(&d.out, `  <path class="%s" marker-end="url(#head)" d="M%s %s h26"/>`, l.class, number(x), number(y))
		fmt.Fprintf(&d.out, `<text class="small" x="%s" y="%s">%s</text>`+"\n", number(x+33), number(y), l.text)
	}
}

// y is the middle of a place in the picture.
func (d *drawing) y(place int) float64 { return margin + header + d.layout.places[place].y }

// number writes a length with at most one decimal.
func number(f float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", f), ".0") }

func escape(s string) string {
	var b strings.Builder
	// A strings.Builder returns no errors.
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}
