package starlark

import (
	"fmt"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// factorName is a function that no file can name: it marks the right operand
// of a multiplication.
const factorName = "*"

func (l limits) factor(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
	return factor{args[0], l.values}, nil
}

// factor is the right operand of a multiplication; only the multiplication
// ever sees it.
type factor struct {
	starlark.Value
	limit int
}

var _ starlark.HasBinary = factor{}

// Binary multiplies, unless the result is too large.
func (f factor) Binary(op syntax.Token, left starlark.Value, _ starlark.Side) (starlark.Value, error) {
	if n := max(repeated(left, f.Value), repeated(f.Value, left)); n > f.limit {
		return nil, fmt.Errorf("the result of %s * %s is too large: it would have more than %d elements",
			left.Type(), f.Value.Type(), f.limit)
	}
	return starlark.Binary(op, left, f.Value)
}

// repeated returns the length of count times v, or the bits of a product.
func repeated(v, count starlark.Value) int {
	n, ok := count.(starlark.Int)
	if !ok {
		return 0
	}
	if i, ok := v.(starlark.Int); ok {
		return i.BigInt().BitLen() + n.BigInt().BitLen()
	}
	times, ok := n.Int64()
	length := max(0, starlark.Len(v))
	switch {
	case n.Sign() <= 0 || length == 0:
		return 0
	case !ok || times > 1<<31 || length > 1<<31:
		return 1 << 62
	}
	return length * int(times)
}

// boundedRange is range with a bounded length: lists are made from it.
func (l limits) boundedRange(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	v, err := starlark.Call(thread, starlark.Universe["range"], args, kwargs)
	if err == nil && starlark.Len(v) > l.values {
		return nil, fmt.Errorf("range: more than %d elements", l.values)
	}
	return v, err
}
