package starlark

import (
	"errors"
	"regexp"
	"strings"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/strata-ci/strata/internal/define/source"
	"github.com/strata-ci/strata/internal/suggest"
	"github.com/strata-ci/strata/pipeline"
)

// located gives an error of a file its place. Errors that have one keep it.
func (s *session) located(err error, file string) error {
	var done *source.Error
	var several interface {
		error
		Unwrap() []error
	}
	var parse syntax.Error
	var unresolved resolve.ErrorList
	var eval *starlark.EvalError
	switch {
	case errors.As(err, &several):
		return several
	case errors.As(err, &done):
		return done
	case errors.As(err, &parse):
		return s.at(position(parse.Pos), parse.Msg)
	case errors.As(err, &unresolved):
		var all []error
		for _, e := range unresolved {
			all = append(all, s.at(position(e.Pos), s.withHint(e.Msg)))
		}
		if len(all) == 1 {
			return all[0]
		}
		return errors.Join(all...)
	case errors.As(err, &eval):
		return s.evaluated(eval)
	}
	return &source.Error{Pos: pipeline.Position{File: file}, Message: err.Error()}
}

func position(p syntax.Position) pipeline.Position {
	return pipeline.Position{File: p.Filename(), Line: int(p.Line), Col: int(p.Col)}
}

// at is an error at a place of one of the modules.
func (s *session) at(pos pipeline.Position, message string) *source.Error {
	e := &source.Error{Pos: pos, Message: message}
	if m := s.modules[pos.File]; m != nil {
		e.Line = m.text.Line(pos.Line)
	}
	return e
}

var undefined = regexp.MustCompile(`^undefined: (\w+)(?: \(did you mean (\w+)\?\))?$`)

// withHint adds what the resolver cannot know: our own functions.
func (s *session) withHint(message string) string {
	match := undefined.FindStringSubmatch(message)
	if match == nil {
		return message
	}
	names := append(s.predeclared.Keys(), starlark.Universe.Keys()...)
	if match[2] != "" {
		names = append([]string{match[2]}, names...)
	}
	hint := suggest.Hint(match[1], names)
	if hint == "" && match[2] != "" {
		return message
	}
	return "undefined: " + match[1] + hint
}

// evaluated turns a run-time error into one at the innermost place in a file,
// with the calls that led there.
func (s *session) evaluated(eval *starlark.EvalError) *source.Error {
	frames := s.frames(eval.CallStack)
	if len(frames) == 0 {
		return &source.Error{Message: message(eval)}
	}
	e := s.at(frames[0].pos, message(eval))
	var bad *argumentError
	if call := frames[0].call; call != nil && errors.As(eval, &bad) {
		if pos, ok := argumentPosition(call, bad.argument); ok {
			e = s.at(position(pos), message(eval))
		}
	}
	for i, f := range frames[1:] {
		what := "called from"
		if f.call == nil && frames[i].top {
			what = "loaded by"
		}
		e.Calls = append(e.Calls, source.Call{Pos: f.pos, What: what})
	}
	return e
}

// frame is one place of a call stack in a file.
type frame struct {
	pos  pipeline.Position
	call *syntax.CallExpr // nil if the place is not a call
	top  bool             // the file's top level, not a function
}

// frames returns the places in files, innermost first.
func (s *session) frames(stack starlark.CallStack) []frame {
	var frames []frame
	for i := range stack {
		at := stack.At(i)
		m := s.modules[at.Pos.Filename()]
		if m == nil {
			continue // a built-in function
		}
		f := frame{pos: position(at.Pos), top: at.Name == "<toplevel>"}
		if f.call = m.calls[placeOf(at.Pos)]; f.call != nil {
			f.pos = position(callPosition(f.call))
		}
		if n := len(frames); n > 0 && frames[n-1].pos == f.pos {
			continue // a function that was not entered: the call says it all
		}
		frames = append(frames, f)
	}
	return frames
}

// message is what the author is told about a run-time error.
func message(eval *starlark.EvalError) string {
	var load loadError
	if errors.As(eval, &load) {
		return load.Error()
	}
	msg := strings.TrimPrefix(eval.Msg, "Starlark computation cancelled: ")
	return strings.TrimPrefix(msg, "fail: ")
}
