package graph

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/strata-ci/strata/pipeline"
)

var update = flag.Bool("update", false, "write the golden files anew")

type drawFunc func(io.Writer, *pipeline.Pipeline) error

var drawings = map[string]drawFunc{"txt": Text, "dot": DOT, "mermaid": Mermaid, "svg": SVG}

func draw(t testing.TB, f drawFunc, p *pipeline.Pipeline) string {
	t.Helper()
	var out bytes.Buffer
	if err := f(&out, p); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func example() *pipeline.Pipeline {
	command := func(s string) pipeline.Command { return pipeline.Command{Shell: s} }
	return &pipeline.Pipeline{Name: "ci", Steps: []pipeline.Step{
		{Name: "deps", Label: "fetch dependencies", Command: command("go mod download")},
		{Name: "build", Command: command("go build ./..."), BuildsIn: "deps"},
		{Name: "vet", Command: command("go vet ./..."), BuildsIn: "build"},
		{Name: "test", Label: `unit tests & "more" 試験`, Command: command("go test ./..."), BuildsIn: "build"},
		{Name: "lint", Command: command("make lint")},
		{Name: "package", Command: command("make dist"), BuildsIn: "build", DependsOn: []string{"build", "lint"}},
		{Name: "deploy", Label: "deploy to the place where everything is deployed to", Command: command("make deploy"), DependsOn: []string{"test", "vet", "package", "deps"}},
	}}
}

func TestGolden(t *testing.T) {
	for kind, f := range drawings {
		got := draw(t, f, example())
		path := filepath.Join("testdata", "example."+kind+".golden")
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
			t.Errorf("%s (-want +got); go test -update accepts it:\n%s", kind, diff)
		}
		if again := draw(t, f, example()); again != got {
			t.Errorf("%s: two drawings of one pipeline differ", kind)
		}
	}
}

// The grammar of what may be written, with every label in quotes or escaped.
var grammars = map[string]*regexp.Regexp{
	"dot": regexp.MustCompile(`^digraph "([^"\\]|\\.)*" \{
  rankdir=LR;
  node \[shape=box, style=rounded, fontname="monospace"\];
(  "([^"\\]|\\.)*" \[label="([^"\\]|\\.)*"\];
)*(  "([^"\\]|\\.)*" -> "([^"\\]|\\.)*"( \[style=dashed\])?;
)*\}
$`),
	"mermaid": regexp.MustCompile(`^flowchart LR
(  s\d+\["([\pL\pN .,:/+=]|#\d+;)*"\]
)*(  s\d+ (-->|-\.->) s\d+
)*$`),
}

// FuzzLabels: no text in a pipeline breaks a drawing's syntax.
func FuzzLabels(f *testing.F) {
	for _, seed := range []string{"", "plain", `a"b\`, `\`, `"]; x -> y`, "<b>&amp;</b>", "%%{init: {}}%%", "end", "`md`", "a\nb\x00\x1b[2J", "\xff\xfe", "]]>", "#quot;", "<script>alert(1)</script>", "\ufffe\u202e"} {
		f.Add(seed, seed, seed)
	}
	f.Fuzz(func(t *testing.T, name, label, command string) {
		p := &pipeline.Pipeline{Name: name, Steps: []pipeline.Step{
			{Name: name, Label: label, Command: pipeline.Command{Shell: command}},
			{Name: label, BuildsIn: name, DependsOn: []string{command}},
			{Name: command, Label: command, DependsOn: []string{name, label}},
		}}
		for kind, grammar := range grammars {
			if got := draw(t, drawings[kind], p); !grammar.MatchString(got) {
				t.Errorf("%s is malformed:\n%s", kind, got)
			}
		}
		if lines := strings.Count(draw(t, Text, p), "\n"); lines != 4 {
			t.Errorf("the text has %d lines", lines)
		}
		if boxes := parseSVG(t, draw(t, SVG, p)); len(boxes) != 3 {
			t.Errorf("the SVG has %d boxes", len(boxes))
		}
	})
}

// box is a step's rectangle in an SVG.
type box struct {
	X      float64 `xml:"x,attr"`
	Y      float64 `xml:"y,attr"`
	Width  float64 `xml:"width,attr"`
	Height float64 `xml:"height,attr"`
}

// parseSVG checks that the picture is well-formed, refers to nothing outside and
// holds all boxes, and returns these.
func parseSVG(t *testing.T, svg string) []box {
	t.Helper()
	var doc struct {
		XMLName xml.Name `xml:"http://www.w3.org/2000/svg svg"`
		Width   float64  `xml:"width,attr"`
		Height  float64  `xml:"height,attr"`
		Groups  []struct {
			Title string `xml:"title"`
			Rect  box    `xml:"rect"`
			Text  string `xml:"text"`
		} `xml:"g"`
	}
	if err := xml.Unmarshal([]byte(svg), &doc); err != nil {
		t.Fatalf("%v in:\n%s", err, svg)
	}
	decoder := xml.NewDecoder(strings.NewReader(svg))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if element, ok := token.(xml.StartElement); ok {
			for _, a := range element.Attr {
				if a.Name.Local == "href" || a.Name.Local == "src" || strings.HasPrefix(a.Name.Local, "on") {
					t.Errorf("the picture has the attribute %s=%q", a.Name.Local, a.Value)
				}
			}
		}
	}
	boxes := make([]box, 0, len(doc.Groups))
	for _, g := range doc.Groups {
		b := g.Rect
		if b.X < 0 || b.Y < 0 || b.X+b.Width > doc.Width || b.Y+b.Height > doc.Height {
			t.Errorf("box %+v is outside of %v x %v", b, doc.Width, doc.Height)
		}
		boxes = append(boxes, b)
	}
	return boxes
}

// randomPipeline has steps that build in, and depend on, earlier ones.
func randomPipeline(rt *rapid.T) *pipeline.Pipeline {
	p := &pipeline.Pipeline{Name: "random"}
	for i := range rapid.IntRange(0, 40).Draw(rt, "steps") {
		s := pipeline.Step{Name: fmt.Sprintf("s%d", i), Command: pipeline.Command{Shell: "true"}}
		if i > 0 && rapid.Bool().Draw(rt, "builds in") {
			s.BuildsIn = fmt.Sprintf("s%d", rapid.IntRange(0, i-1).Draw(rt, "parent"))
		}
		if i > 0 {
			for _, d := range rapid.SliceOfNDistinct(rapid.IntRange(0, i-1), 0, min(i, 4), rapid.ID).Draw(rt, "depends on") {
				s.DependsOn = append(s.DependsOn, fmt.Sprintf("s%d", d))
			}
		}
		p.Steps = append(p.Steps, s)
	}
	return p
}

// In a picture no two boxes overlap and every edge goes to the right; in the text
// every step is there once, below its parent.
func TestLayout(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := randomPipeline(rt)
		boxes := parseSVG(t, draw(t, SVG, p))
		for i, a := range boxes {
			for _, b := range boxes[i+1:] {
				if a.X < b.X+b.Width && b.X < a.X+a.Width && a.Y < b.Y+b.Height && b.Y < a.Y+a.Height {
					rt.Fatalf("boxes %+v and %+v overlap", a, b)
				}
			}
		}
		for _, e := range edges(p) {
			if from, to := boxes[e.from], boxes[e.to]; from.X+from.Width >= to.X {
				rt.Fatalf("the edge from %d to %d does not go to the right", e.from, e.to)
			}
		}
		text := draw(t, Text, p)
		for i := range p.Steps {
			if n := len(regexp.MustCompile(fmt.Sprintf(`(?m)─ s%d( |$)`, i)).FindAllString(text, -1)); n != 1 {
				rt.Fatalf("step %d is there %d times:\n%s", i, n, text)
			}
		}
	})
}

// Pipelines that nobody validated are drawn too, as far as possible.
func TestOddPipelines(t *testing.T) {
	odd := map[string]*pipeline.Pipeline{
		"empty":  {},
		"circle": {Name: "c", Steps: []pipeline.Step{{Name: "a", BuildsIn: "b"}, {Name: "b", BuildsIn: "a", DependsOn: []string{"b", "a"}}, {Name: "c", BuildsIn: "gone", DependsOn: []string{"lost"}}}},
		"twins":  {Name: "t", Steps: []pipeline.Step{{Name: "a"}, {Name: "a", BuildsIn: "a"}}},
	}
	long := &pipeline.Pipeline{Name: "long"}
	for i := range 3000 {
		s := pipeline.Step{Name: fmt.Sprint(i), DependsOn: []string{"0"}}
		if i > 0 {
			s.BuildsIn = fmt.Sprint(i - 1)
		}
		long.Steps = append(long.Steps, s)
	}
	odd["long"] = long
	for name, p := range odd {
		for kind, f := range drawings {
			if got := draw(t, f, p); len(got) > 2<<20 {
				t.Errorf("%s of %s has %d bytes", kind, name, len(got))
			}
		}
		if boxes := parseSVG(t, draw(t, SVG, p)); len(boxes) != len(p.Steps) {
			t.Errorf("the SVG of %s has %d boxes for %d steps", name, len(boxes), len(p.Steps))
		}
	}
}

func TestWriteError(t *testing.T) {
	for kind, f := range drawings {
		if err := f(closed{}, example()); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%s: got %v", kind, err)
		}
	}
}

type closed struct{}

func (closed) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
