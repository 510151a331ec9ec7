//go:build !linux

package main

import "context"

// isolation has nothing to try: this system has no isolating runner yet.
func isolation(context.Context, *store) []finding {
	return []finding{{
		Name: "isolation", Detail: "this system has no isolating runner", Fix: "run on Linux for isolated steps",
	}}
}
