package starlark

import (
	"go.starlark.net/syntax"
)

// place is a position within a file.
type place struct{ line, col int32 }

func placeOf(p syntax.Position) place { return place{p.Line, p.Col} }

// prepare returns the calls of a file by the place that the interpreter
// gives them, their opening parenthesis, and wraps the right operand of every
// multiplication, so that its result is bounded: the interpreter itself would
// make 16 GiB in one instruction.
func prepare(file *syntax.File) map[place]*syntax.CallExpr {
	calls := make(map[place]*syntax.CallExpr)
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.BinaryExpr:
			if n.Op == syntax.STAR {
				n.Y = wrapFactor(n.OpPos, n.Y)
			}
		case *syntax.AssignStmt:
			if n.Op == syntax.STAR_EQ {
				n.RHS = wrapFactor(n.OpPos, n.RHS)
			}
		case *syntax.CallExpr:
			if id, ok := n.Fn.(*syntax.Ident); !ok || id.Name != factorName {
				calls[placeOf(n.Lparen)] = n
			}
		}
		return true
	})
	return calls
}

func wrapFactor(pos syntax.Position, x syntax.Expr) syntax.Expr {
	return &syntax.CallExpr{
		Fn:     &syntax.Ident{NamePos: pos, Name: factorName},
		Lparen: pos,
		Args:   []syntax.Expr{x},
		Rparen: pos,
	}
}

// callPosition is where a call's function is named.
func callPosition(call *syntax.CallExpr) syntax.Position {
	if dot, ok := call.Fn.(*syntax.DotExpr); ok {
		return dot.Name.NamePos
	}
	return syntax.Start(call)
}

// argumentPosition is where a call names an argument, if it does.
func argumentPosition(call *syntax.CallExpr, name string) (syntax.Position, bool) {
	for _, arg := range call.Args {
		if pair, ok := arg.(*syntax.BinaryExpr); ok && pair.Op == syntax.EQ {
			if id, ok := pair.X.(*syntax.Ident); ok && id.Name == name {
				return id.NamePos, true
			}
		}
	}
	return syntax.Position{}, false
}
