package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/strata-ci/strata/internal/journal"
)

// stepOutput is a piece of a step's output as a line of NDJSON:
//
//	{"type":"step_output","run_id":"…","step":"test","text":"ok\n"}
//	{"type":"step_output","run_id":"…","step":"test","data":"/wA="}
//
// text is there where the piece is valid UTF-8, else data, which is the piece in
// base64. Pieces are never cut within a valid character. The pieces of a step,
// put together, are its output byte for byte. There is no seq: output is not an
// event of the journal.
type stepOutput struct {
	Type  string `json:"type"`
	RunID string `json:"run_id"`
	Step  string `json:"step"`
	Text  string `json:"text,omitempty"`
	Data  []byte `json:"data,omitempty"`
}

// JSON writes every event of the journal as it is, one JSON object a line, and
// between them the output of the steps; see the schema of the journal, and for
// output: type "step_output", run_id, step and either text (valid UTF-8) or
// data (base64). Each line is written as soon as its item is there. JSON returns
// the first error of items or w.
func JSON(w io.Writer, items Items) error {
	p := jsonWriter{w: w, cut: make(map[string][]byte)}
	p.enc = json.NewEncoder(&p.buf)
	p.enc.SetEscapeHTML(false)
	for item, err := range items {
		if err != nil {
			return err
		}
		if err := p.item(item); err != nil {
			return err
		}
	}
	for _, step := range slices.Sorted(maps.Keys(p.cut)) {
		if err := p.flush(step); err != nil {
			return err
		}
	}
	return nil
}

type jsonWriter struct {
	w     io.Writer
	buf   bytes.Buffer
	enc   *json.Encoder
	runID string
	cut   map[string][]byte // by step: the beginning of a character whose rest is to come
}

func (p *jsonWriter) item(item journal.Item) error {
	switch {
	case item.Output != nil:
		return p.output(item.Output)
	case item.Event == nil:
		return nil
	}
	p.runID = item.Event.RunID
	if item.Event.Type == journal.StepFinished {
		if err := p.flush(item.Event.Step); err != nil {
			return err
		}
	}
	return p.write(item.Event)
}

func (p *jsonWriter) output(o *journal.Output) error {
	piece := o.Data
	if held := p.cut[o.Step]; len(held) > 0 {
		piece = append(held, piece...)
	}
	border := len(piece) - incomplete(piece)
	err := p.piece(o.Step, piece[:border])
	p.cut[o.Step] = append([]byte(nil), piece[border:]...)
	return err
}

// flush writes the beginning of a character that nothing completed.
func (p *jsonWriter) flush(step string) error {
	held := p.cut[step]
	delete(p.cut, step)
	return p.piece(step, held)
}

func (p *jsonWriter) piece(step string, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	line := stepOutput{Type: "step_output", RunID: p.runID, Step: step}
	if utf8.Valid(data) {
		line.Text = string(data)
	} else {
		line.Data = data
	}
	return p.write(line)
}

func (p *jsonWriter) write(line any) error {
	p.buf.Reset()
	if err := p.enc.Encode(line); err != nil {
		return fmt.Errorf("encode a line of JSON: %w", err)
	}
	if _, err := p.w.Write(p.buf.Bytes()); err != nil {
		return fmt.Errorf("write a line of JSON: %w", err)
	}
	return nil
}
