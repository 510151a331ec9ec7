package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"
)

// app is what every command gets of the process that it runs in.
type app struct {
	stdin, stdout, stderr *os.File
	getenv                func(string) string
	now                   func() time.Time
	// dir is the absolute directory that the command works in: that of the
	// process, or the one that -C names.
	dir string
}

func newApp() (*app, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("find the current directory: %w; change to one that exists", err)
	}
	return &app{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		getenv: os.Getenv, now: time.Now, dir: dir,
	}, nil
}

// path returns a path of the command line as an absolute one.
func (a *app) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(a.dir, p)
}

// changeDir makes dir the directory that the command works in.
func (a *app) changeDir(dir string) error {
	path := a.path(dir)
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("it is not a directory")
	}
	if err != nil {
		return invalidf("change to %s: %w", dir, plainCause(err))
	}
	a.dir = path
	return nil
}

// say tells the user one line, beside the output of the command.
func (a *app) say(format string, args ...any) {
	_, _ = fmt.Fprintln(a.stderr, "strata: "+clean(fmt.Sprintf(format, args...))) // there is nowhere else to say it
}

// clean returns text in which nothing can act on a terminal: what is neither
// printable nor the end of a line or a tab is shown as "?".
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) || r == '\n' || r == '\t' {
			return r
		}
		return '?'
	}, text)
}
