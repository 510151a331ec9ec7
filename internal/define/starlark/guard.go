package starlark

import (
	"fmt"
	"math"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// The interpreter stops a program only between two instructions, and one
// instruction can make gigabytes. The functions of this file bound what one
// can make. Those with a name that no file can write are put around operands
// by [prepare].
const (
	factorName = "*" // around the right operand of *
	formatName = "%" // around the left operand of %
	addendName = "+" // around the right operand of +
	textName   = "." // around what one of boundedMethods is taken from
)

// boundedMethods are the methods of strings that can make far larger ones.
var boundedMethods = map[string]func(s starlark.String, args starlark.Tuple, kwargs []starlark.Tuple, limit int) int{
	"replace": replacedSize,
	"join":    joinedSize,
	"format":  formattedSize,
}

func (l limits) guards() map[string]implementation {
	guards := map[string]implementation{
		"range":   l.boundedRange,
		"getattr": l.boundedAttribute,
		factorName: func(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			return factor{args[0], l}, nil
		},
		formatName: func(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			if s, ok := args[0].(starlark.String); ok {
				return format{s, s, l}, nil
			}
			return args[0], nil
		},
		addendName: func(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			if n := starlark.Len(args[0]); n > l.text || n > l.elements && !isText(args[0]) {
				return nil, l.tooLarge("what is added")
			}
			return args[0], nil
		},
		textName: func(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
			return l.bounded(args[0]), nil
		},
	}
	for _, name := range []string{"str", "repr", "print", "fail"} {
		guards[name] = l.boundedText
	}
	return guards
}

func (l limits) tooLarge(what string) error {
	return fmt.Errorf("%s is too large: a list can have at most %d elements and a string %d bytes", what, l.elements, l.text)
}

// factor is the right operand of a multiplication; only the multiplication
// ever sees it.
type factor struct {
	starlark.Value
	limits
}

// format is the left operand of a formatting operation.
type format struct {
	starlark.Value
	template starlark.String
	limits
}

// text is a string whose methods are bounded; it is never kept.
type text struct {
	starlark.Value
	content starlark.String
	limits
}

var (
	_ starlark.HasBinary = factor{}
	_ starlark.HasBinary = format{}
	_ starlark.HasAttrs  = text{}
)

func (f factor) Binary(op syntax.Token, left starlark.Value, _ starlark.Side) (starlark.Value, error) {
	if f.repeatsTooMuch(left, f.Value) || f.repeatsTooMuch(f.Value, left) {
		return nil, f.tooLarge(fmt.Sprintf("the result of %s * %s", left.Type(), f.Value.Type()))
	}
	return starlark.Binary(op, left, f.Value)
}

// repeatsTooMuch reports whether count times v is over the limit.
func (l limits) repeatsTooMuch(v, count starlark.Value) bool {
	n, ok := count.(starlark.Int)
	if !ok {
		return false
	}
	if i, ok := v.(starlark.Int); ok {
		return i.BigInt().BitLen()+n.BigInt().BitLen() > l.elements
	}
	limit := l.elements
	if isText(v) {
		limit = l.text
	}
	length := starlark.Len(v)
	times, ok := n.Int64()
	if length <= 0 || n.Sign() <= 0 {
		return false
	}
	return !ok || times > int64(limit/length)
}

func isText(v starlark.Value) bool {
	switch v.(type) {
	case starlark.String, starlark.Bytes:
		return true
	}
	return false
}

func (f format) Binary(op syntax.Token, right starlark.Value, _ starlark.Side) (starlark.Value, error) {
	each := rendered(right, f.text)
	if len(f.template)+min(each, f.text)*strings.Count(string(f.template), "%") > f.text {
		return nil, f.tooLarge("the formatted string")
	}
	return starlark.Binary(op, f.template, right)
}

// bounded gives a string bounded methods; other values stay as they are.
func (l limits) bounded(v starlark.Value) starlark.Value {
	if s, ok := v.(starlark.String); ok {
		return text{s, s, l}
	}
	return v
}

func (t text) AttrNames() []string { return t.content.AttrNames() }

func (t text) Attr(name string) (starlark.Value, error) {
	method, err := t.content.Attr(name)
	size, ok := boundedMethods[name]
	if err != nil || !ok {
		return method, err
	}
	return starlark.NewBuiltin(name, func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		if size(t.content, args, kwargs, t.text) > t.text {
			return nil, t.tooLarge("the result of " + name)
		}
		return starlark.Call(thread, method, args, kwargs)
	}), nil
}

func (l limits) boundedAttribute(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	if len(args) > 1 {
		if name, ok := starlark.AsString(args[1]); ok && boundedMethods[name] != nil {
			args = append(starlark.Tuple{l.bounded(args[0])}, args[1:]...)
		}
	}
	return starlark.Call(thread, starlark.Universe["getattr"], args, kwargs)
}

// boundedText is a function that writes its arguments out.
func (l limits) boundedText(thread *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	if rendered(args, l.text) > l.text {
		return nil, l.tooLarge("the text of " + b.Name())
	}
	return starlark.Call(thread, starlark.Universe[b.Name()], args, kwargs)
}

func (l limits) boundedRange(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	v, err := starlark.Call(thread, starlark.Universe["range"], args, kwargs)
	if err == nil && starlark.Len(v) > l.elements {
		return nil, l.tooLarge("the range")
	}
	return v, err
}

// The sizes below are upper bounds of the bytes of a result. They stop to
// count above limit.

func replacedSize(s starlark.String, args starlark.Tuple, _ []starlark.Tuple, _ int) int {
	if len(args) < 2 {
		return 0 // an error, which the method reports
	}
	from, _ := starlark.AsString(args[0])
	to, _ := starlark.AsString(args[1])
	return len(s) + (len(s)/max(1, len(from))+1)*len(to)
}

func joinedSize(s starlark.String, args starlark.Tuple, _ []starlark.Tuple, limit int) int {
	if len(args) != 1 {
		return 0
	}
	list := starlark.Iterate(args[0])
	if list == nil {
		return 0
	}
	defer list.Done()
	size := 0
	for v := starlark.Value(nil); size <= limit && list.Next(&v); {
		part, _ := starlark.AsString(v)
		size += len(part) + len(s)
	}
	return size
}

func formattedSize(s starlark.String, args starlark.Tuple, kwargs []starlark.Tuple, limit int) int {
	each := rendered(args, limit)
	for _, pair := range kwargs {
		each = min(limit+1, each+rendered(pair, limit))
	}
	return len(s) + each*strings.Count(string(s), "{")
}

// rendered returns how long a value is when it is written out. A small value
// that holds another many times, or itself, can be written out without end.
func rendered(v starlark.Value, limit int) int {
	left := limit
	render(v, &left)
	return limit - left
}

// render takes what v needs from left, and a little more where that is not enough.
func render(v starlark.Value, left *int) {
	if *left < 0 {
		return
	}
	const small = 16 // a number, a bracket, a comma
	*left -= small
	switch v := v.(type) {
	case starlark.String:
		*left -= 2 * len(v) // a quoted character mostly needs no more
	case starlark.Bytes:
		*left -= 2 * len(v)
	case starlark.Int:
		*left -= int(math.Ceil(float64(v.BigInt().BitLen()) / 3))
	case *starlark.Dict:
		for key, value := range v.Entries() {
			render(key, left)
			render(value, left)
			if *left < 0 {
				return
			}
		}
	case starlark.Iterable:
		if starlark.Len(v) < 0 {
			return // an iterator, written as a word
		}
		for e := range starlark.Elements(v) {
			if render(e, left); *left < 0 {
				return
			}
		}
	}
}
