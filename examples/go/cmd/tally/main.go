// Command tally prints the most frequent words of its standard input.
package main

import (
	"flag"
	"fmt"
	"os"

	"example.com/tally"
)

func main() {
	top := flag.Int("n", 10, "print the `number` most frequent words")
	flag.Parse()
	counts, err := tally.Words(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, "tally:", err)
		os.Exit(1)
	}
	for _, c := range counts[:min(max(*top, 0), len(counts))] {
		fmt.Printf("%5d %s\n", c.Times, c.Word)
	}
}
