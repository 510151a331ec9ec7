//go:build !linux

// Command bench measures Strata on Linux.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: the benchmarks need Linux: sandboxes and their floor, `unshare`, exist only there")
	os.Exit(2)
}
