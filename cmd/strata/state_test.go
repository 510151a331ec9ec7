package main

import (
	"path/filepath"
	"runtime"
	"testing"
)

func TestStateDir(t *testing.T) {
	root, home := "/", "HOME"
	fallback := "/home/ann/.local/state/strata"
	base := "XDG_STATE_HOME"
	if runtime.GOOS == "windows" {
		root, home, base = `C:\`, "USERPROFILE", "LocalAppData"
		fallback = `C:\home\ann\AppData\Local\strata`
	}
	path := func(elements ...string) string { return filepath.Join(append([]string{root}, elements...)...) }
	ann := path("home", "ann")
	tests := []struct {
		name string
		env  map[string]string
		want string
	}{
		{"home", map[string]string{home: ann}, fallback},
		{"state home", map[string]string{home: ann, base: path("x")}, path("x", "strata")},
		{"relative state home", map[string]string{home: ann, base: "x"}, fallback},
		{"own variable", map[string]string{home: ann, base: path("x"), "STRATA_HOME": path("s")}, path("s")},
		{"no home", map[string]string{home: "relative"}, ""},
	}
	for _, tt := range tests {
		got, err := stateDir(func(key string) string { return tt.env[key] })
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s: %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}
