package pipeline

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
)

// Encode returns the canonical JSON of p: the same bytes for the same
// pipeline, indented by two spaces, with sorted environments and runner_args,
// and a newline at the end. What Validate faults because JSON cannot say it
// (runner_args that are not JSON, a number of CPUs that is not finite) is left out.
func Encode(p *Pipeline) []byte {
	out := *p
	out.Version = Version
	out.Steps = slices.Clone(p.Steps)
	if out.Steps == nil {
		out.Steps = []Step{}
	}
	for i := range out.Steps {
		s := &out.Steps[i]
		s.RunnerArgs, _ = canonicalJSON(s.RunnerArgs)
		if r := s.Resources; r != nil && (math.IsNaN(r.CPUs) || math.IsInf(r.CPUs, 0)) {
			s.Resources = &Resources{Memory: r.Memory}
		}
	}
	data, err := marshal(out, "  ")
	if err != nil {
		panic("pipeline: encode: " + err.Error()) // no value of these types is left that JSON cannot say
	}
	return data
}

// canonicalJSON returns data without spaces and with sorted object keys;
// numbers stay as they are written. nil stays nil.
func canonicalJSON(data json.RawMessage) (json.RawMessage, error) {
	if data == nil {
		return nil, nil
	}
	var whole json.RawMessage
	if err := json.Unmarshal(data, &whole); err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(whole))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	out, err := marshal(v, "")
	return bytes.TrimSuffix(out, []byte("\n")), err
}

func marshal(v any, indent string) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	err := e.Encode(v)
	return out.Bytes(), err
}
