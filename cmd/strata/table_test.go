package main

import (
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	rows := table{
		{"NAME", "STATE"},
		{"日本", "ok"},
		{"a\x1b[2Jb\n", "failed", "more"},
	}
	var b strings.Builder
	if err := rows.write(&b, plainCell); err != nil {
		t.Fatal(err)
	}
	want := "NAME     STATE\n" +
		"日本     ok\n" +
		"a?[2Jb   failed  more\n"
	if b.String() != want {
		t.Errorf("have:\n%s\nwant:\n%s", b.String(), want)
	}
}
