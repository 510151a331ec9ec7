package pipeline

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Command is what a step runs: a shell string or an argument list, never both.
type Command struct {
	Shell string   // run by `sh -e -c`
	Args  []string // run as it is
}

// IsZero reports whether there is no command at all.
func (c Command) IsZero() bool { return c.Shell == "" && len(c.Args) == 0 }

// String returns the command as a person would write it.
func (c Command) String() string {
	if len(c.Args) == 0 {
		return c.Shell
	}
	quoted := make([]string, len(c.Args))
	for i, a := range c.Args {
		quoted[i] = a
		if a == "" || strings.ContainsAny(a, " \t\n\"'\\$`|&;<>()*?[]{}~#!") {
			quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

// Argv returns what to execute.
func (c Command) Argv() []string {
	if len(c.Args) > 0 {
		return c.Args
	}
	return []string{"sh", "-e", "-c", c.Shell}
}

// MarshalJSON gives a string for a shell command, an array for an argument list.
func (c Command) MarshalJSON() ([]byte, error) {
	var value any = c.Shell
	if len(c.Args) > 0 {
		value = c.Args
	}
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false) // a command with && in it is to be readable
	err := e.Encode(value)
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), err
}

// UnmarshalJSON reads what MarshalJSON writes.
func (c *Command) UnmarshalJSON(data []byte) error {
	*c = Command{}
	if json.Unmarshal(data, &c.Shell) == nil {
		return nil
	}
	if json.Unmarshal(data, &c.Args) == nil {
		return nil
	}
	return errors.New("a command is a string or a list of strings")
}

// Duration is a time span, written in JSON as Go writes it: "1h30m", "250ms".
type Duration time.Duration

// String returns the shortest form that ParseDuration reads: "1h30m", not "1h30m0s".
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// ParseDuration reads a positive duration such as "90s" or "1h30m"; "7d" counts days of 24 hours.
func ParseDuration(s string) (Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil && n > 0 {
			return Duration(n) * Duration(24*time.Hour), nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration: write a number with a unit, such as 90s, 10m, 1h30m or 7d", s)
	}
	if d <= 0 {
		return 0, fmt.Errorf("the duration %q must be longer than zero", s)
	}
	return Duration(d), nil
}

// MarshalJSON writes the duration as a string.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads a string by ParseDuration.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("a duration is a string such as \"90s\", not %s", data)
	}
	var err error
	*d, err = ParseDuration(s)
	return err
}

// Bytes is an amount of memory or disk in bytes, written in JSON as a number.
type Bytes int64

var byteUnits = []struct {
	suffix string
	factor int64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"k", 1 << 10},
	{"K", 1 << 10},
	{"m", 1 << 20},
	{"M", 1 << 20},
	{"g", 1 << 30},
	{"G", 1 << 30},
	{"T", 1 << 40},
	{"B", 1},
}

// ParseBytes reads a positive amount such as "512MiB" or "2G". Units are powers of 1024.
func ParseBytes(s string) (Bytes, error) {
	number, factor := s, int64(1)
	for _, u := range byteUnits {
		if n, ok := strings.CutSuffix(s, u.suffix); ok {
			number, factor = n, u.factor
			break
		}
	}
	f, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || f <= 0 || f*float64(factor) >= 1<<62 {
		return 0, fmt.Errorf("%q is not an amount of bytes: write a number with a unit, such as 512MiB or 2GiB", s)
	}
	return Bytes(f * float64(factor)), nil
}

// String returns the amount with a unit, rounded to one decimal.
func (b Bytes) String() string {
	const units = "KMGT"
	f, i := float64(b), -1
	for f >= 1024 && i < len(units)-1 {
		f /= 1024
		i++
	}
	if i < 0 {
		return fmt.Sprintf("%d B", int64(b))
	}
	return fmt.Sprintf("%.1f %ciB", f, units[i])
}

// String returns file:line:col with as much as is known.
func (p Position) String() string {
	if p.File == "" {
		return ""
	}
	s := p.File
	if p.Line > 0 {
		s += ":" + strconv.Itoa(p.Line)
		if p.Col > 0 {
			s += ":" + strconv.Itoa(p.Col)
		}
	}
	return s
}
