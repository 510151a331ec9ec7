package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/alecthomas/kong"
)

// docsCmd writes docs/reference/cli.md.
type docsCmd struct {
	To string `arg:"" name:"dir" help:"The directory docs of the repository."`
}

// Run writes the reference.
func (c *docsCmd) Run(a *app, parser *kong.Kong) error {
	file := filepath.Join(a.path(c.To), "reference", "cli.md")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, reference(parser.Model), 0o644)
}

const referenceHead = `# The command line

<!-- Written by "strata __docs docs" from the commands themselves; do not edit. -->

` + "`strata COMMAND --help`" + ` prints the same. Results and machine-readable output go to the standard
output, all else to the standard error. Commands work on the project that the current directory is
in: the nearest directory upwards with a ` + "`.strata`" + ` directory.

| exit code | meaning |
|---|---|
| 0 | passed |
| 1 | a step failed or timed out |
| 2 | the command line or the pipeline is invalid |
| 3 | the engine, a runner or the machine failed; nothing is known about the steps concerned |
| 130 | cancelled |

| environment variable | meaning |
|---|---|
| ` + "`STRATA_HOME`" + ` | the directory of Strata's state. Default: ` + "`$XDG_STATE_HOME/strata`" + `, else ` + "`~/.local/state/strata`" + `; on Windows ` + "`%LocalAppData%\\strata`" + ` |
| ` + "`STRATA_CONFIG`" + ` | the file with the user's settings. Default: ` + "`strata/config.json` in `$XDG_CONFIG_HOME`, else in `~/.config`" + `; on macOS in ` + "`~/Library/Application Support`" + `, on Windows in ` + "`%AppData%`" + ` |
| ` + "`NO_COLOR`" + ` | where set, nothing is coloured |

Flags of every command:

`

// reference returns the reference of the command line in Markdown.
func reference(model *kong.Application) []byte {
	var b bytes.Buffer
	b.WriteString(referenceHead)
	flagList(&b, model.Flags)
	for _, command := range model.Leaves(true) {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", command.FullPath(), command.Help)
		fmt.Fprintf(&b, "\n    %s\n", usage(command))
		if command.Detail != "" {
			fmt.Fprintf(&b, "\n%s\n", command.Detail)
		}
		if len(command.Positional)+len(command.Flags) > 0 {
			b.WriteByte('\n')
		}
		for _, arg := range command.Positional {
			fmt.Fprintf(&b, "- `%s`: %s\n", strings.ToUpper(arg.Name), arg.Help)
		}
		flagList(&b, command.Flags)
	}
	return b.Bytes()
}

func flagList(b *bytes.Buffer, flags []*kong.Flag) {
	for _, f := range flags {
		if f.Hidden {
			continue
		}
		spelling := "--" + f.Name
		if !f.IsBool() {
			spelling += "=" + f.FormatPlaceHolder()
		}
		if f.Short != 0 {
			spelling = fmt.Sprintf("-%c, %s", f.Short, spelling)
		}
		fmt.Fprintf(b, "- `%s`: %s\n", spelling, f.Help)
	}
}

func usage(command *kong.Node) string {
	text := command.FullPath()
	for _, arg := range command.Positional {
		name := strings.ToUpper(arg.Name)
		if !arg.Required {
			name = "[" + name + "]"
		}
		text += " " + name
	}
	if len(command.Flags) > 0 {
		text += " [flags]"
	}
	return text
}
