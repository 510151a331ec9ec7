package main

import (
	"io"
	"strings"

	"github.com/mattn/go-runewidth"
)

// table is rows of cells. Not all rows need the same number of them.
type table [][]string

// write writes the table with its columns aligned. paint may colour a cell's
// text; nothing in the text itself acts on a terminal.
func (t table) write(w io.Writer, paint func(row, column int, text string) string) error {
	var widths []int
	for _, row := range t {
		for i := range row {
			row[i] = clean(strings.ReplaceAll(row[i], "\n", " "))
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], runewidth.StringWidth(row[i]))
		}
	}
	var b strings.Builder
	for i, row := range t {
		for j, cell := range row {
			b.WriteString(paint(i, j, cell))
			if j < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[j]-runewidth.StringWidth(cell)+2))
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// plainCell leaves cells as they are.
func plainCell(_, _ int, text string) string { return text }
