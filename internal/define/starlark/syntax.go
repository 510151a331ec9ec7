package starlark

import (
	"strings"

	"go.starlark.net/syntax"
)

// place is a position within a file.
type place struct{ line, col int32 }

func placeOf(p syntax.Position) place { return place{p.Line, p.Col} }

// prepare returns the calls of a file by the place that the interpreter
// gives them, their opening parenthesis, and puts guards around the operands
// of what can make enormous values in one instruction.
func prepare(file *syntax.File) map[place]*syntax.CallExpr {
	calls := make(map[place]*syntax.CallExpr)
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.CallExpr:
			if !isGuard(n) {
				calls[placeOf(n.Lparen)] = n
			}
		case *syntax.BinaryExpr:
			switch n.Op {
			case syntax.STAR:
				n.Y = guard(factorName, n.OpPos, n.Y)
			case syntax.PLUS:
				n.Y = guard(addendName, n.OpPos, n.Y)
			case syntax.PERCENT:
				n.X = guard(formatName, n.OpPos, n.X)
			}
		case *syntax.AssignStmt:
			prepareAssignment(n)
		case *syntax.DotExpr:
			if boundedMethods[n.Name.Name] != nil {
				n.X = guard(textName, n.Dot, n.X)
			}
		}
		return true
	})
	return calls
}

// prepareAssignment guards x *= y and x += y, and turns x %= y into x = x % y, whose
// left operand is guarded next.
func prepareAssignment(n *syntax.AssignStmt) {
	switch n.Op {
	case syntax.STAR_EQ:
		n.RHS = guard(factorName, n.OpPos, n.RHS)
	case syntax.PLUS_EQ:
		n.RHS = guard(addendName, n.OpPos, n.RHS)
	case syntax.PERCENT_EQ:
		if id, ok := n.LHS.(*syntax.Ident); ok {
			x := &syntax.Ident{NamePos: id.NamePos, Name: id.Name}
			n.Op, n.RHS = syntax.EQ, &syntax.BinaryExpr{X: x, OpPos: n.OpPos, Op: syntax.PERCENT, Y: n.RHS}
		}
	}
}

func guard(name string, pos syntax.Position, x syntax.Expr) syntax.Expr {
	if _, ok := x.(*syntax.Literal); ok && name == addendName {
		return x // no larger than the file
	}
	return &syntax.CallExpr{
		Fn:     &syntax.Ident{NamePos: pos, Name: name},
		Lparen: pos,
		Args:   []syntax.Expr{x},
		Rparen: pos,
	}
}

func isGuard(call *syntax.CallExpr) bool {
	id, ok := call.Fn.(*syntax.Ident)
	return ok && strings.Contains("*%+.", id.Name)
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
