package runnertest

import (
	"slices"
	"strings"
)

// What a command sees around it: what it was given, and nothing of the caller's.
var envTests = []test{
	{name: "is exactly what is given, and PATH and HOME", fn: func(c *check) {
		given := []string{
			markerVariable + "=" + c.marker,
			"EMPTY=", "EQUALS=a=b=c", "LOWER_case_1=x", "QUOTES=\"it's\" $HOME `id` \\n",
			"SPACES=  two  ", "UTF8=ÄÖ→", "Z_LAST=1",
		}
		out := c.pass(step{args: []string{"env"}, env: given, exactEnv: true})
		var got []string
		for line := range strings.Lines(out) {
			line = strings.TrimSuffix(line, "\n")
			name, _, _ := strings.Cut(line, "=")
			if name != "PATH" && name != "HOME" && !slices.Contains(c.props.Adds, name) {
				got = append(got, line)
			}
		}
		slices.Sort(got)
		slices.Sort(given)
		if !slices.Equal(got, given) {
			c.Errorf("got %q, want %q", got, given)
		}
	}},
	{name: "holds values of any bytes", fn: func(c *check) {
		value := "one\ntwo\n\xff\xfe\ttab"
		out := c.pass(step{sh: `printf %s "$VALUE"`, env: []string{"VALUE=" + value}})
		c.equal("value", out, value)
	}},
	{name: "has nothing of the caller's", fn: func(c *check) {
		out := c.pass(step{args: []string{"env"}})
		if strings.Contains(out, leakVariable) {
			c.Errorf("the caller's variable %s is in the step's environment:\n%s", leakVariable, out)
		}
	}},
	{name: "PATH and HOME stay as they are given", fn: func(c *check) {
		out := c.pass(step{
			sh:  `printf '%s %s' "$PATH" "$HOME"`,
			env: []string{"HOME=/nowhere/at all", "PATH=/nowhere/bin:/usr/bin:/bin"},
		})
		c.equal("PATH and HOME", out, "/nowhere/bin:/usr/bin:/bin /nowhere/at all")
	}},
	{name: "PATH finds the command", fn: func(c *check) {
		ws := newWorkspace(c, tree{{path: "bin/strata-own-tool", mode: 0o755, data: "#!/bin/sh\necho found\n"}})
		out := c.pass(step{args: []string{"strata-own-tool"}, env: []string{"PATH=/usr/bin:bin:/bin"}, workspace: ws})
		c.equal("output", out, "found\n")
	}},
	{name: "HOME is a writable directory", fn: func(c *check) {
		c.sh(`d="$HOME/.strata-runnertest.$$"; mkdir "$d"; echo x > "$d/file"; rm -r "$d"`)
	}},
	{name: "temporary files can be made", fn: func(c *check) {
		c.sh(`f="$(mktemp)"; echo x > "$f"; test "$(cat "$f")" = x; rm "$f"`)
	}},
	{name: "the directory is the workspace", fn: func(c *check) {
		ws := newWorkspace(c, tree{{path: "top", mode: 0o644, data: "top\n"}, {path: "a/b/file", mode: 0o644, data: "deep\n"}})
		c.equal("in the workspace", c.pass(step{sh: "cat top a/b/file", workspace: ws}), "top\ndeep\n")
		c.equal("in a directory", c.pass(step{sh: "cat file ../../top", dir: "a/b", workspace: ws}), "deep\ntop\n")
		pwd := c.pass(step{sh: "pwd", dir: "a/b", workspace: ws})
		if !strings.HasSuffix(pwd, "/a/b\n") {
			c.Errorf("pwd in a/b says %q", pwd)
		}
	}},
	{name: "an empty workspace is empty", fn: func(c *check) {
		c.equal("entries", c.sh("ls -a | sort | tr '\\n' ' '"), ". .. ")
	}},
	{name: "the workspace is writable", fn: func(c *check) {
		ws := newWorkspace(c, tree{{path: "d/file", mode: 0o644, data: "old\n"}})
		c.equal("file", c.pass(step{sh: "echo new >> d/file; mkdir e; mv d/file e/; rmdir d; cat e/file", workspace: ws}), "old\nnew\n")
		c.equal("the capture afterwards", c.pass(step{sh: "cat d/file; ls", workspace: ws}), "old\nd\n")
	}},
	{name: "standard input is empty", fn: func(c *check) {
		c.equal("output", c.sh("cat; read line || echo end"), "end\n")
	}},
	{name: "no file of the caller's is open", fn: func(c *check) {
		// ls itself opens the directory as the first free number.
		out := c.sh("[ ! -d /proc/self/fd ] || exec ls /proc/self/fd")
		if out != "" && out != "0\n1\n2\n3\n" {
			c.Errorf("the open files are %q, want 0, 1 and 2 (and 3 for the directory of ls)", strings.Fields(out))
		}
	}},
	{name: "umask is 022", fn: func(c *check) {
		c.equal("umask and modes", c.sh("umask; touch f; mkdir d; ls -ld f d | cut -c1-10"), "0022\ndrwxr-xr-x\n-rw-r--r--\n")
	}},
	{name: "signals have their usual effect", fn: func(c *check) {
		c.need(c.props.Signals, "Signals")
		for _, name := range []string{"HUP", "INT", "QUIT", "PIPE", "TERM", "USR1"} {
			if o := c.do(step{sh: "ulimit -c 0; kill -" + name + " $$"}); o.Signal != "SIG"+name {
				c.Errorf("kill -%s: got %v", name, o)
			}
		}
	}},
}
