package runnertest

import (
	"strings"
	"time"
)

// What a step inherits from the step that it builds in: the workspace as the
// parent left it, entry by entry.
var inheritTests = []test{
	{name: "contents", fn: func(c *check) {
		parent := c.build(step{sh: `mkdir -p a/b; echo one > a/b/file; printf 'two' > top; : > empty; printf '\000\377' > bytes`})
		c.equal("files", c.in(parent, `cat a/b/file top empty; wc -c < bytes | tr -d ' '`), "one\ntwo2\n")
	}},
	{name: "changes of the workspace's files", fn: func(c *check) {
		parent := c.build(step{workspace: sources(c), sh: `
			echo changed > edit
			echo more >> append
			rm remove dir/remove
			mv rename renamed
			mv move dir/moved
			mv dir/over over
			rm -r gone`})
		c.equal("files", c.in(parent, "cat edit append renamed dir/moved over dir/keep"),
			"changed\nappend\nmore\nrename\nmove\ndir/over\ndir/keep\n")
		c.equal("names", c.in(parent, "ls; ls dir"), "append\ndir\nedit\nover\nrenamed\nkeep\nmoved\n")
	}},
	{name: "a directory that was renamed", fn: func(c *check) {
		parent := c.build(step{workspace: sources(c), sh: "mv dir other; echo new > other/new"})
		c.equal("names", c.in(parent, "test ! -e dir; ls other; cat other/keep"), "keep\nnew\nover\nremove\ndir/keep\n")
	}},
	{name: "a directory that was made anew", fn: func(c *check) {
		// The old directory's entries must not shine through.
		parent := c.build(step{workspace: sources(c), sh: "rm -r dir gone; mkdir dir gone; echo new > dir/only"})
		c.equal("names", c.in(parent, "ls dir gone"), "dir:\nonly\n\ngone:\n")
		child := c.build(step{parent: parent, sh: "rm -r dir; mkdir dir"})
		c.equal("names in the child", c.in(child, "ls dir"), "")
	}},
	{name: "changes of an entry's kind", fn: func(c *check) {
		c.need(c.props.Symlinks, "Symlinks")
		parent := c.build(step{workspace: sources(c), sh: `
			rm edit; mkdir edit; echo in > edit/in
			rm -r dir; echo file > dir
			rm -r gone; ln -s append gone`})
		c.equal("files", c.in(parent, "cat edit/in dir gone; readlink gone"), "in\nfile\nappend\nappend\n")
		child := c.build(step{parent: parent, sh: "rm gone; mkdir gone; rm dir; ln -s edit dir"})
		c.equal("files in the child", c.in(child, "ls gone dir/"), "dir/:\nin\n\ngone:\n")
	}},
	{name: "deletions, through generations", fn: func(c *check) {
		one := c.build(step{workspace: sources(c), sh: "rm edit; echo x > made"})
		two := c.build(step{parent: one, sh: "test ! -e edit; rm made"})
		three := c.build(step{parent: two, sh: "test ! -e edit; test ! -e made; echo again > edit"})
		c.equal("files", c.in(three, "cat edit; test ! -e made"), "again\n")
	}},
	{name: "modes", fn: func(c *check) {
		c.need(c.props.Modes, "Modes")
		const list = "ls -ld dir file run suid sticky none shut | cut -c1-10"
		const script = `
			mkdir dir sticky shut; touch file run suid none
			chmod 0750 dir; chmod 0640 file; chmod 0755 run; chmod 4711 suid; chmod 1777 sticky
			chmod 0000 none; echo x > shut/in; chmod 0000 shut
			`
		want := "drwxr-x---\n-rw-r-----\n----------\n-rwxr-xr-x\nd---------\ndrwxrwxrwt\n-rws--x--x\n"
		parent := c.build(step{sh: script})
		c.equal("modes", c.in(parent, list), want)
		child := c.build(step{parent: parent, sh: "chmod 0600 run"})
		c.equal("modes in the child's child", c.in(child, "ls -l run none | cut -c1-10; chmod 700 shut; cat shut/in"), "----------\n-rw-------\nx\n")
		c.equal("modes afterwards", c.in(parent, list), want)
	}},
	{name: "times", fn: func(c *check) {
		// Only GNU's stat shows more than seconds.
		const stamp = "2001-02-03T04:05:06.123456789Z"
		const show = `if stat -c %.9Y . > /dev/null 2>&1; then stat -c %.9Y sub/file sub; fi`
		want := "981173106.123456789\n981173106.123456789\n"
		parent := c.build(step{sh: "mkdir sub; touch -d " + stamp + " sub/file; touch -d " + stamp + " sub"})
		child := c.build(step{parent: parent, sh: "echo x > other"})
		if got := c.in(child, show); got != "" {
			c.equal("times", got, want)
		}
		when := time.Date(2010, 11, 12, 13, 14, 15, 161718192, time.UTC)
		ws := newWorkspace(c, tree{{path: "sub", mode: modeDir | 0o755, time: when}, {path: "sub/file", mode: 0o644, time: when}})
		if got := c.pass(step{workspace: ws, sh: show}); got != "" {
			c.equal("times of the capture", got, "1289567655.161718192\n1289567655.161718192\n")
		}
	}},
	{name: "empty directories", fn: func(c *check) {
		parent := c.build(step{sh: "mkdir -p a/b/c d"})
		c.equal("directories", c.in(parent, "rmdir a/b/c d; ls a"), "b\n")
	}},
	{name: "symlinks", fn: func(c *check) {
		c.need(c.props.Symlinks, "Symlinks")
		parent := c.build(step{sh: `
			mkdir dir; echo x > dir/file
			ln -s dir/file link; ln -s dir todir; ln -s nowhere dangling; ln -s self self
			ln -s /etc/passwd absolute; ln -s ../../../../etc/passwd outside; ln -s 'a b
c' odd`})
		c.equal("targets", c.in(parent, "for l in link todir dangling self absolute outside odd; do readlink $l; done"),
			"dir/file\ndir\nnowhere\nself\n/etc/passwd\n../../../../etc/passwd\na b\nc\n")
		c.equal("through links", c.in(parent, "cat link todir/file; echo y > link; cat dir/file"), "x\nx\ny\n")
		ws := newWorkspace(c, tree{{path: "l", mode: modeLink, data: "missing"}})
		c.equal("the capture's", c.pass(step{workspace: ws, sh: "readlink l"}), "missing\n")
	}},
	{name: "hard links", fn: func(c *check) {
		c.need(c.props.HardLinks, "HardLinks")
		const script = `
			for f in a b sub/c; do ls -i $f | tr -s ' ' | sed 's/^ //' | cut -d ' ' -f 1; done | sort -u | wc -l | tr -d ' '
			ls -l a | tr -s ' ' | cut -d ' ' -f 2`
		parent := c.build(step{sh: "mkdir sub; echo x > a; ln a b; ln a sub/c"})
		c.equal("inodes and link count", c.in(parent, script), "1\n3\n")
		child := c.build(step{parent: parent, sh: "echo other > d"})
		c.equal("in the child's child", c.in(child, script), "1\n3\n")
	}},
	{name: "FIFOs", fn: func(c *check) {
		c.need(c.props.FIFOs, "FIFOs")
		parent := c.build(step{sh: "mkfifo pipe"})
		c.equal("through the pipe", c.in(parent, "test -p pipe; (echo x > pipe) & cat pipe"), "x\n")
	}},
	{name: "names of any kind", fn: func(c *check) {
		c.need(c.props.Modes, "Modes") // a Unix file system
		parent := c.build(step{sh: `for f in 'a b' '-n' '.hidden' '*' "q'\"" 'new
line' 'ÄÖ→'; do printf '%s\n' "$f" > "./$f"; done`})
		c.equal("contents", c.in(parent, `cat './a b' ./-n ./.hidden './*' "./q'\"" './new
line' './ÄÖ→'; ls -A | wc -l | tr -d ' '`), "a b\n-n\n.hidden\n*\nq'\"\nnew\nline\nÄÖ→\n8\n")
	}},
	{name: "large files", fn: func(c *check) {
		parent := c.build(step{sh: "seq 1 1000000 > numbers; cksum < numbers > sum"})
		c.in(parent, `test "$(cksum < numbers)" = "$(cat sum)"`)
	}},
	{name: "a directory to work in", fn: func(c *check) {
		parent := c.build(step{sh: "mkdir -p made/here; echo x > made/here/file"})
		c.equal("file", c.pass(step{parent: parent, dir: "made/here", sh: "cat file"}), "x\n")
		c.wantInfra(c.do(step{parent: parent, dir: "made/there", sh: "true"}), "start")
	}},
	{name: "no processes", fn: func(c *check) {
		parent := c.build(step{sh: "(while :; do echo x >> grows; sleep 0.01; done) & while [ ! -s grows ]; do sleep 0.01; done"})
		one := c.in(parent, "wc -l < grows")
		c.equal("lines of a file that a process was writing", c.in(parent, "wc -l < grows"), one)
	}},
	{name: "the sources of its own capture below the parent's changes", fn: func(c *check) {
		old := newWorkspace(c, tree{
			{path: "same", mode: 0o644, data: "1"},
			{path: "newer", mode: 0o644, data: "1"},
			{path: "edited", mode: 0o644, data: "1"},
			{path: "removed", mode: 0o644, data: "1"},
			{path: "gone/deep", mode: 0o644, data: "1"},
		})
		now := newWorkspace(c, tree{
			{path: "same", mode: 0o644, data: "1"},
			{path: "newer", mode: 0o755, data: "2"},
			{path: "edited", mode: 0o644, data: "2"},
			{path: "removed", mode: 0o644, data: "2"},
			{path: "added/deep", mode: 0o644, data: "2"},
		})
		const show = `for f in same newer edited built added/deep; do printf '%s=%s ' $f "$(cat $f)"; done; ls | tr '\n' ' '`
		const want = "same=1 newer=2 edited=p built=p added/deep=2 added built edited newer same "
		parent := c.build(step{workspace: old, sh: "printf p > edited; rm removed; printf p > built"})
		c.equal("files", c.pass(step{workspace: now, parent: parent, sh: show}), want)
		child := c.build(step{workspace: now, parent: parent, sh: "printf c > same"})
		c.equal("files of the child, today", c.pass(step{workspace: now, parent: child, sh: show}), strings.Replace(want, "same=1", "same=c", 1))
		later := newWorkspace(c, tree{{path: "newer", mode: 0o644, data: "3"}, {path: "removed", mode: 0o644, data: "3"}})
		c.equal("files of the child, later", c.pass(step{workspace: later, parent: child, sh: "cat same newer edited built; ls | tr '\\n' ' '"}), "c3ppbuilt edited newer same ")
	}},
	{name: "what lies outside the workspace", fn: func(c *check) {
		c.need(c.props.Root != "", "Root")
		file := c.props.Root + "/" + c.marker
		parent := c.build(step{sh: "mkdir " + file + "; echo x > " + file + "/in; echo y > " + file + "/gone"})
		c.notOnMachine(file)
		child := c.build(step{parent: parent, sh: "cat " + file + "/in; rm " + file + "/gone; echo z > " + file + "/new"})
		c.equal("names in the child's child", c.in(child, "cd "+file+"; ls; cat in new"), "in\nnew\nx\nz\n")
		c.equal("names in the parent's child", c.in(parent, "ls "+file), "gone\nin\n")
		c.sh("test ! -e " + file)
	}},
}

// sources is a workspace whose files contain their own names.
func sources(c *check) *workspace {
	var files tree
	for _, path := range []string{"append", "dir/keep", "dir/over", "dir/remove", "edit", "gone/one", "move", "over", "remove", "rename"} {
		files = append(files, entry{path: path, mode: 0o644, data: path + "\n"})
	}
	return newWorkspace(c, files)
}
