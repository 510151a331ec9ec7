package pipeline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"
)

var withoutPlaces = cmpopts.IgnoreTypes(Position{})

func TestEncodeIsCanonical(t *testing.T) {
	p := &Pipeline{Name: "ci", Timeout: Duration(90 * time.Minute), Env: map[string]string{"B": "<&>", "A": "1"}, Steps: []Step{{
		Name: "build", Command: Command{Args: []string{"make", "a b"}}, RunnerArgs: json.RawMessage(`{"z":1.0, "a":"<"}`),
		Cache: &CachePolicy{Kind: CacheTTL, TTL: Duration(24 * time.Hour)}, Resources: &Resources{CPUs: 0.5, Memory: 1 << 30},
	}}}
	const want = `{
  "version": 1,
  "name": "ci",
  "env": {
    "A": "1",
    "B": "<&>"
  },
  "timeout": "1h30m",
  "steps": [
    {
      "name": "build",
      "command": [
        "make",
        "a b"
      ],
      "runner_args": {
        "a": "<",
        "z": 1.0
      },
      "cache": {
        "policy": "ttl",
        "ttl": "24h"
      },
      "resources": {
        "cpus": 0.5,
        "memory": 1073741824
      }
    }
  ]
}
`
	if diff := cmp.Diff(want, string(Encode(p))); diff != "" {
		t.Error(diff)
	}
	if p.Version != 0 || string(p.Steps[0].RunnerArgs) != `{"z":1.0, "a":"<"}` {
		t.Error("Encode changed its argument")
	}
	if got := string(Encode(&Pipeline{Name: "x"})); !strings.Contains(got, `"steps": []`) {
		t.Errorf("no steps are not an empty list: %s", got)
	}
}

func TestDecodePositions(t *testing.T) {
	p, err := Decode([]byte("\n{\"version\": 1, \"name\": \"ci\", \"steps\": [{\"name\": \"ä\", \"command\": \"x\"}, {\"name\": \"b\", \"command\": \"y\"},\n  {\"name\": \"c\", \"command\": \"z\", \"builds_in\": [\"b\"]}]}"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range p.Steps {
		got = append(got, fmt.Sprint(s.Pos.Line, ":", s.Pos.Col))
	}
	if diff := cmp.Diff([]string{"2:40", "2:71", "3:3"}, got); diff != "" {
		t.Error(diff)
	}
	if p.Steps[2].BuildsIn != "b" {
		t.Errorf("builds_in of a list of one is %q", p.Steps[2].BuildsIn)
	}
}

func TestDecodeFaults(t *testing.T) {
	step := func(fields string) string {
		return "{\"version\": 1, \"name\": \"ci\", \"steps\": [\n{\"name\": \"a\", \"command\": \"x\", " + fields + "}]}"
	}
	for text, want := range map[string][]string{
		"":                      {"0:0 the pipeline is empty: an object with version, name and steps is wanted"},
		" \n":                   {"0:0 the pipeline is empty: an object with version, name and steps is wanted"},
		"\xff":                  {"0:0 the pipeline is not valid UTF-8"},
		"[]":                    {"1:1 a pipeline must be an object with version, name and steps, not a list"},
		"null":                  {"1:1 a pipeline must be an object with version, name and steps, not null"},
		"{}":                    {`1:1 the field "version" is missing`, `1:1 the field "name" is missing`, `1:1 the field "steps" is missing`},
		"{\n x}":                {"2:2 not valid JSON: invalid character 'x' looking for beginning of object key string"},
		"{} {}":                 {"1:4 not valid JSON: invalid character '{' after top-level value"},
		strings.Repeat("[", 65): {"1:65 objects and lists are nested deeper than 64"},
		`{"version": 2, "name": "ci", "steps": []}`:   {"1:13 version 2 is newer than this strata reads (1): use a newer strata"},
		`{"version": 0, "name": "ci", "steps": []}`:   {"1:13 unknown version 0: this strata reads version 1"},
		`{"version": "1", "name": "ci", "steps": []}`: {"1:13 version must be the number 1, not a string"},
		`{"version": 1, "Name": "ci", "steps": {}, "timeoutt": "1s"}`: {
			`1:1 the field "name" is missing`, `1:16 unknown field "Name" (did you mean "name"?)`, "1:39 steps must be a list, not an object", `1:43 unknown field "timeoutt" (did you mean "timeout"?)`,
		},
		step(`"imagee": "x", "foo": 1`):    {`2:31 unknown field "imagee" (did you mean "image"?)`, `2:46 unknown field "foo"`},
		step(`"name": "b"`):                {`2:31 the field "name" is there twice`},
		step(`"timeout": "soon"`):          {`2:42 steps[0].timeout: "soon" is not a duration: write a number with a unit, such as 90s, 10m, 1h30m or 7d`},
		step(`"timeout": "0s"`):            {`2:42 steps[0].timeout: the duration "0s" must be longer than zero`},
		step(`"timeout": 5`):               {`2:42 steps[0].timeout must be a string such as "90s", not a number`},
		step(`"builds_in": ["a", "b"]`):    {`2:44 more than one builds_in ("a", "b"): a step starts from one file system; name the others in depends_on`},
		step(`"builds_in": []`):            {"2:44 builds_in is an empty list: name one step or leave it out"},
		step(`"builds_in": 1`):             {"2:44 steps[0].builds_in must be a string, not a number"},
		step(`"env": {"A": 1, "B": "2"}`):  {"2:44 steps[0].env.A must be a string, not a number"},
		step(`"env": []`):                  {"2:38 steps[0].env must be an object of strings, not a list"},
		step(`"env": {"A": "1", "A": ""}`): {`2:49 the variable "A" is there twice`},
		step(`"inputs": ["a", null]`):      {"2:47 steps[0].inputs[1] must be a string, not null"},
		step(`"resources": {"cpus": "2", "memory": 1.5, "disk": 1}`): {
			"2:53 steps[0].resources.cpus must be a number, not a string", "2:68 steps[0].resources.memory must be a whole number of bytes below 2^63", `2:73 unknown field "disk"`,
		},
		step(`"resources": {"cpus": 1e999}`): {"2:53 steps[0].resources.cpus is out of range"},
		step(`"retry": "2", "retry_failed": 1.5`): {
			"2:40 steps[0].retry must be a whole number, not a string", "2:61 steps[0].retry_failed must be a whole number from 0 to 10",
		},
		step(`"retry": 1e999`):         {"2:40 steps[0].retry must be a whole number from 0 to 10"},
		step(`"cache": {"ttl": "1h"}`): {`2:40 the field "policy" is missing`},
		step(`"cache": "forever"`):     {"2:40 steps[0].cache must be an object, not a string"},
		`{"version": 1, "name": "ci", "steps": [{"name": "a", "command": {}}, 7]}`: {"1:65 steps[0].command must be a string or a list of strings, not an object", "1:70 steps[1] must be an object, not a number"},
	} {
		_, err := Decode([]byte(text))
		faults, ok := err.(Faults)
		if !ok {
			t.Errorf("%s: error %v of type %T, want Faults", text, err, err)
			continue
		}
		var got []string
		for _, f := range faults {
			got = append(got, fmt.Sprintf("%d:%d %s", f.Pos.Line, f.Pos.Col, f.Message))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s\n(-want +got):\n%s", text, diff)
		}
	}
}

func TestDecodeHugeInput(t *testing.T) {
	if _, err := Decode(bytes.Repeat([]byte(" "), MaxSize+1)); err == nil || err.Error() != "the pipeline is larger than 64.0 MiB" {
		t.Error(err)
	}
	// Many faults, and many steps on one line, take linear time.
	var text strings.Builder
	text.WriteString(`{"version": 1, "name": "ci", "steps": [`)
	for i := range 100_000 {
		fmt.Fprintf(&text, `{"name": "s%d", "command": "x", "x%d": 1},`, i, i)
	}
	text.WriteString(`7]}`)
	_, err := Decode([]byte(text.String()))
	if faults, _ := err.(Faults); len(faults) != maxDecodeFaults {
		t.Errorf("%d faults, want %d", len(faults), maxDecodeFaults)
	}
	p := chain(100_000)
	var compact bytes.Buffer
	if err := json.Compact(&compact, Encode(p)); err != nil {
		t.Fatal(err)
	}
	got, err := Decode(compact.Bytes())
	if err != nil || len(got.Steps) != 100_000 {
		t.Errorf("%v", err)
	}
}

// pipelines generates valid pipelines of all shapes.
func pipelines() *rapid.Generator[*Pipeline] {
	text := rapid.StringMatching(`[^\x00-\x1f\x{7f}-\x{9f}\x{fffd}\s]{1,20}`).Filter(func(s string) bool { return strings.TrimSpace(s) != "" })
	glob := rapid.StringMatching(`[a-z*]{1,5}(/[a-z*.]{1,3}x){0,2}`)
	env := rapid.MapOfN(rapid.StringMatching(`[A-Z_][A-Z0-9_]{0,9}`), rapid.StringMatching(`[^\x00\x{fffd}]{0,20}`), 1, 4)
	duration := rapid.Map(rapid.Int64Range(1, 1<<62), func(n int64) Duration { return Duration(n) })
	simple := rapid.OneOf(
		rapid.Just(CachePolicy{Kind: CacheNone}),
		rapid.Just(CachePolicy{Kind: CacheForever}),
		rapid.Map(duration, func(d Duration) CachePolicy { return CachePolicy{Kind: CacheTTL, TTL: d} }),
		rapid.Map(rapid.SliceOfN(glob, 1, 3), func(g []string) CachePolicy { return CachePolicy{Kind: CacheOnChange, Paths: g} }),
	)
	policy := rapid.OneOf(simple, rapid.Map(rapid.SliceOfN(simple, 1, 3), func(all []CachePolicy) CachePolicy {
		return CachePolicy{Kind: CacheAll, All: all}
	}))
	return rapid.Custom(func(t *rapid.T) *Pipeline {
		maybe := func(what string) bool { return rapid.Bool().Draw(t, what) }
		p := &Pipeline{Version: Version, Name: "p"}
		if maybe("pipeline env") {
			p.Env, p.Timeout = env.Draw(t, "env"), duration.Draw(t, "timeout")
		}
		for i := range rapid.IntRange(1, 5).Draw(t, "steps") {
			s := Step{Name: fmt.Sprintf("s%d", i), Command: Command{Shell: text.Draw(t, "shell")}}
			if maybe("list") {
				s.Command = Command{Args: append([]string{"x"}, rapid.SliceOfN(text, 0, 3).Draw(t, "args")...)}
			}
			if maybe("texts") {
				s.Label, s.Dir, s.Runner = text.Draw(t, "label"), "a/b", "vm"
				s.Env = env.Draw(t, "env")
			}
			if maybe("policies") {
				c := policy.Draw(t, "cache")
				s.Cache, s.Timeout = &c, duration.Draw(t, "timeout")
				s.Inputs = rapid.SliceOfN(glob, 1, 3).Draw(t, "inputs")
				s.RunnerArgs = json.RawMessage(rapid.SampledFrom([]string{`{}`, `[1,2.50]`, `null`, `{"a":{"b":"<"}}`, `"x"`}).Draw(t, "runner_args"))
			}
			if maybe("retries") {
				s.Retry, s.RetryFailed = rapid.IntRange(0, MaxRetries).Draw(t, "retry"), rapid.IntRange(0, MaxRetries).Draw(t, "retry_failed")
			}
			if maybe("limits") {
				s.Network = rapid.SampledFrom([]string{"host", "none"}).Draw(t, "network")
				s.Resources = &Resources{CPUs: rapid.Float64Range(MinCPUs, MaxCPUs).Draw(t, "cpus"), Memory: Bytes(rapid.Int64Range(MinMemory, MaxMemory).Draw(t, "memory"))}
			}
			switch {
			case i > 0 && maybe("edges"):
				s.BuildsIn = fmt.Sprintf("s%d", rapid.IntRange(0, i-1).Draw(t, "parent"))
				s.DependsOn = []string{fmt.Sprintf("s%d", rapid.IntRange(0, i-1).Draw(t, "need"))}
			case maybe("image"):
				s.Image = rapid.SampledFrom([]string{"host", "docker.io/library/golang:1.26@sha256:00"}).Draw(t, "image")
			}
			p.Steps = append(p.Steps, s)
		}
		return p
	})
}

func TestDecodeReadsWhatEncodeWrites(t *testing.T) {
	schema := compileSchema(t)
	rapid.Check(t, func(t *rapid.T) {
		p := pipelines().Draw(t, "pipeline")
		if err := Validate(p, RunnerSet{}); err != nil {
			t.Fatalf("the generated pipeline is not valid: %v", err)
		}
		text := Encode(p)
		got, err := Decode(text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, got, withoutPlaces); diff != "" {
			t.Fatalf("pipeline (-encoded +decoded):\n%s", diff)
		}
		if again := Encode(got); !bytes.Equal(text, again) {
			t.Fatalf("encoded again:\n%s", cmp.Diff(string(text), string(again)))
		}
		if err := schema.Validate(plain(t, text)); err != nil {
			t.Fatalf("the schema refuses a valid pipeline: %v\n%s", err, text)
		}
	})
}

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc := plain(t, Schema())
	c := jsonschema.NewCompiler()
	if err := c.AddResource("pipeline.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("pipeline.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func plain(t interface{ Fatal(...any) }, data []byte) any {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// The schema refuses what it can see of the faults of Decode and Validate.
func TestSchemaRefusesBrokenPipelines(t *testing.T) {
	schema := compileSchema(t)
	const good = `{"version": 1, "name": "ci", "steps": [{"name": "a", "command": "x"}]}`
	if err := schema.Validate(plain(t, []byte(good))); err != nil {
		t.Fatal(err)
	}
	for _, change := range []string{
		`"version": 1,|`, `"version": 1|"version": 2`, `"ci"|"a b"`, `"ci"|""`, `"steps"|"step"`, `[{"name": "a", "command": "x"}]|[]`,
		`"x"}|"x", "foo": 1}`, `"x"|""`, `"x"|" "`, `"x"|[]`, `"x"|[""]`, `"x"|["a", "\u0000"]`, `"x"|7`, `, "command": "x"|`, `"name": "a", |`,
		`"x"}|"x", "timeout": "0"}`, `"x"}|"x", "timeout": 10}`, `"x"}|"x", "timeout": "1 h"}`,
		`"x"}|"x", "retry": -1}`, `"x"}|"x", "retry": 11}`, `"x"}|"x", "retry_failed": 11}`, `"x"}|"x", "retry_failed": 0.5}`, `"x"}|"x", "retry": "1"}`,
		`"x"}|"x", "dir": "/a"}`, `"x"}|"x", "dir": "a/.."}`, `"x"}|"x", "env": {"A=": ""}}`, `"x"}|"x", "env": {"A": 1}}`,
		`"x"}|"x", "network": "bridge"}`, `"x"}|"x", "builds_in": ["a", "b"]}`, `"x"}|"x", "builds_in": []}`,
		`"x"}|"x", "builds_in": "b", "image": "c"}`, `"x"}|"x", "image": "a b"}`, `"x"}|"x", "label": "a\nb"}`,
		`"x"}|"x", "resources": {"cpus": -1}}`, `"x"}|"x", "resources": {"memory": 7}}`, `"x"}|"x", "resources": {"memory": "1GiB"}}`, `"x"}|"x", "resources": {"disk": 1}}`,
		`"x"}|"x", "cache": "forever"}`, `"x"}|"x", "cache": {"policy": "x"}}`, `"x"}|"x", "cache": {"policy": "ttl"}}`, `"x"}|"x", "cache": {"policy": "forever", "ttl": "1h"}}`,
		`"x"}|"x", "cache": {"policy": "on_change", "paths": []}}`, `"x"}|"x", "cache": {"policy": "all", "all": []}}`,
		`"x"}|"x", "cache": {"policy": "all", "all": [{"policy": "all", "all": [{"policy": "none"}]}]}}`,
		`"x"}|"x", "inputs": [""]}`, `"x"}|"x", "inputs": "a"}`, `"x"}|"x", "depends_on": "b"}`,
	} {
		from, to, _ := strings.Cut(change, "|")
		text := strings.Replace(good, from, to, 1)
		if text == good {
			t.Fatalf("%s changes nothing", change)
		}
		if schema.Validate(plain(t, []byte(text))) == nil {
			t.Errorf("the schema accepts %s", text)
		}
		p, err := Decode([]byte(text))
		if err == nil {
			err = Validate(p, RunnerSet{})
		}
		if err == nil && !strings.Contains(text, `"builds_in": "b", "image"`) {
			t.Errorf("Decode and Validate accept %s", text)
		}
	}
}

// TestSchemaHasTheFieldsOfTheTypes compares the schema with the Go types, and
// wants a description for each field.
func TestSchemaHasTheFieldsOfTheTypes(t *testing.T) {
	root := plain(t, Schema()).(map[string]any)
	step := root["$defs"].(map[string]any)["step"].(map[string]any)
	resources := step["properties"].(map[string]any)["resources"].(map[string]any)
	for _, c := range []struct {
		of     reflect.Type
		schema map[string]any
	}{
		{reflect.TypeFor[Pipeline](), root},
		{reflect.TypeFor[Step](), step},
		{reflect.TypeFor[Resources](), resources},
	} {
		properties := c.schema["properties"].(map[string]any)
		if diff := cmp.Diff(jsonFields(c.of), keys(properties)); diff != "" {
			t.Errorf("fields of %s (-Go +schema):\n%s", c.of, diff)
		}
		for name, p := range properties {
			if p.(map[string]any)["description"] == nil {
				t.Errorf("%s.%s has no description", c.of, name)
			}
		}
	}
	policies := make(map[string]any)
	collect := func(alternative any) {
		for name, p := range alternative.(map[string]any)["properties"].(map[string]any) {
			policies[name] = p
		}
	}
	for _, alternative := range root["$defs"].(map[string]any)["simple_cache_policy"].(map[string]any)["oneOf"].([]any) {
		collect(alternative)
	}
	collect(step["properties"].(map[string]any)["cache"].(map[string]any)["oneOf"].([]any)[1])
	if diff := cmp.Diff(jsonFields(reflect.TypeFor[CachePolicy]()), keys(policies)); diff != "" {
		t.Errorf("fields of CachePolicy (-Go +schema):\n%s", diff)
	}
}

func jsonFields(t reflect.Type) map[string]bool {
	fields := make(map[string]bool)
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name != "-" {
			fields[name] = true
		}
	}
	return fields
}

func keys(m map[string]any) map[string]bool {
	out := make(map[string]bool)
	for k := range m {
		out[k] = true
	}
	return out
}

func FuzzDecode(f *testing.F) {
	f.Add(Encode(valid()))
	f.Add([]byte(`{"version": 1, "name": "\u00e4\ud800", "steps": [{"command": ["a\\\"]"], "builds_in": ["x"], "runner_args": {"a": [1e9, {}]}, "cache": {"policy": "all", "all": [{}]}}]}`))
	f.Add([]byte(`{"steps": [ ] , "env" : { } }`))
	f.Add([]byte(`[[[{"a":`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Decode(data)
		if err != nil {
			if _, ok := err.(Faults); !ok {
				t.Fatalf("error of type %T", err)
			}
			return
		}
		text := Encode(p)
		again, err := Decode(text)
		if err != nil {
			t.Fatalf("decode what was encoded: %v\n%s", err, text)
		}
		if !bytes.Equal(text, Encode(again)) {
			t.Fatalf("encoded again:\n%s", cmp.Diff(string(text), string(Encode(again))))
		}
		_ = Validate(p, RunnerSet{})
	})
}
