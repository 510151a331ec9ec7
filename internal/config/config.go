// Package config reads the user's settings.
//
// In: one JSON file. Out: settings with a value for everything. It never writes
// the file, and takes no setting that it does not know.
package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/strata-ci/strata/internal/suggest"
	"github.com/strata-ci/strata/pipeline"
)

// Config is all settings.
type Config struct {
	Cache    Cache    `json:"cache"`
	Failures Failures `json:"failures"`
}

// Cache bounds the disk space, in blocks, of cached results and kept failures.
type Cache struct {
	MaxBytes     Size `json:"max_bytes"`      // never more than this
	MinFreeBytes Size `json:"min_free_bytes"` // leave so much of the file system free …
	KeepBytes    Size `json:"keep_bytes"`     // … but never go below this for it
}

// Failures says what is kept of failed steps: the newest that exceed none of these.
type Failures struct {
	Count int  `json:"count"`
	Bytes Size `json:"bytes"`
	Age   Age  `json:"age"`
}

// Default is what holds where nothing is set. BuildKit keeps a tenth of the disk
// (https://docs.docker.com/build/cache/garbage-collection/), ccache 5 GiB
// (max_size in its manual): 20 GiB lies between them on a laptop, and is what
// some hundred builds with their dependencies come to.
func Default() Config {
	return Config{
		Cache:    Cache{MaxBytes: 20 << 30, MinFreeBytes: 2 << 30, KeepBytes: 1 << 30},
		Failures: Failures{Count: 10, Bytes: 5 << 30, Age: Age(7 * 24 * time.Hour)},
	}
}

// maxFile bounds the file, in bytes.
const maxFile = 1 << 20

// Load reads the file that $STRATA_CONFIG names, else strata/config.json in the
// user's directory for settings. That one need not exist.
func Load(getenv func(string) string) (Config, error) {
	path, named := getenv("STRATA_CONFIG"), true
	if path == "" {
		named = false
		dir, err := os.UserConfigDir()
		if err != nil {
			return Default(), nil // no home, no settings
		}
		path = filepath.Join(dir, "strata", "config.json")
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return Default(), nil
	}
	if err != nil {
		return Config{}, fmt.Errorf("read the settings: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Config{}, fmt.Errorf("read the settings: %w", err)
	}
	c, err := Parse(data)
	if err != nil {
		return Config{}, fmt.Errorf("read the settings: %s%w", path, err)
	}
	return c, nil
}

// Parse reads settings. An error begins with ":LINE: ".
func Parse(data []byte) (Config, error) {
	if len(data) > maxFile {
		return Config{}, fmt.Errorf(": it has more than %v", pipeline.Bytes(maxFile))
	}
	c := Default()
	r := reader{json.NewDecoder(bytes.NewReader(data))}
	err := r.config(&c)
	if err == nil {
		return c, nil
	}
	at := r.InputOffset()
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
		at = syntax.Offset
	}
	line := 1 + bytes.Count(data[:min(int(at), len(data))], []byte("\n"))
	return Config{}, fmt.Errorf(":%d: %w", line, err)
}

// settings are where the values of all settings go, by their section and name.
func (c *Config) settings() map[string]map[string]any {
	return map[string]map[string]any{
		"cache":    {"max_bytes": &c.Cache.MaxBytes, "min_free_bytes": &c.Cache.MinFreeBytes, "keep_bytes": &c.Cache.KeepBytes},
		"failures": {"count": &c.Failures.Count, "bytes": &c.Failures.Bytes, "age": &c.Failures.Age},
	}
}

// reader reads settings one by one, so that it knows where each of them is.
type reader struct{ *json.Decoder }

func (r reader) config(c *Config) error {
	all := c.settings()
	var names, full []string
	for section, settings := range all {
		names = append(append(names, section), slices.Collect(maps.Keys(settings))...)
		for name := range settings {
			full = append(full, section+"."+name)
		}
	}
	slices.Sort(names)
	slices.Sort(full)
	unknown := func(name string) error {
		hint := suggest.Hint(name, names)
		if hint == "" {
			hint = "; there are " + strings.Join(full, ", ")
		}
		return fmt.Errorf("unknown setting %.80q%s", name, hint)
	}
	err := r.object("the whole", func(section string) error {
		settings := all[section]
		if settings == nil {
			return unknown(section)
		}
		return r.object(strconv.Quote(section), func(name string) error {
			to := settings[name]
			if to == nil {
				return unknown(name)
			}
			return r.value(section+"."+name, to)
		})
	})
	if err != nil {
		return err
	}
	if _, err := r.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after the settings")
	}
	return c.check()
}

// object calls member for each name in an object, to read its value.
func (r reader) object(what string, member func(name string) error) error {
	open, err := r.Token()
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	if err == nil && open != json.Delim('{') {
		err = fmt.Errorf("%s has to be an object, {…}", what)
	}
	seen := map[string]bool{}
	for err == nil && r.More() {
		var name json.Token
		if name, err = r.Token(); err != nil {
			break
		}
		text, _ := name.(string) // or else the decoder has refused it
		if seen[text] {
			return fmt.Errorf("%.80q is there twice", text)
		}
		seen[text] = true
		err = member(text)
	}
	if err == nil {
		_, err = r.Token() // the closing brace
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// value reads one setting.
func (r reader) value(name string, to any) error {
	var raw json.RawMessage
	if err := r.Decode(&raw); err != nil {
		return err
	}
	var wrong *json.UnmarshalTypeError
	err := json.Unmarshal(raw, to)
	switch {
	case string(raw) == "null":
		return fmt.Errorf("%q has no value: leave it out for the default", name)
	case errors.As(err, &wrong):
		return fmt.Errorf("%q cannot be a %s", name, wrong.Value)
	case err != nil:
		return fmt.Errorf("%q: %w", name, err)
	}
	return nil
}

func (c *Config) check() error {
	if c.Failures.Count < 0 {
		return errors.New(`"failures.count" is negative`)
	}
	if c.Cache.KeepBytes > c.Cache.MaxBytes {
		return errors.New(`"cache.keep_bytes" is more than "cache.max_bytes"`)
	}
	return nil
}

// Size is an amount of bytes, written as a string such as "20GiB", or 0.
type Size pipeline.Bytes

// UnmarshalJSON reads a size.
func (s *Size) UnmarshalJSON(data []byte) error {
	if string(data) == "0" {
		*s = 0
		return nil
	}
	var text string
	if json.Unmarshal(data, &text) != nil {
		return fmt.Errorf("a size is a string such as \"20GiB\", or 0, not %.40s", data)
	}
	b, err := pipeline.ParseBytes(text)
	*s = Size(b)
	return err
}

// Age is a time span, written as a string such as "7d", or 0.
type Age time.Duration

// UnmarshalJSON reads a time span.
func (a *Age) UnmarshalJSON(data []byte) error {
	if string(data) == "0" {
		*a = 0
		return nil
	}
	var text string
	if json.Unmarshal(data, &text) != nil {
		return fmt.Errorf("an age is a string such as \"7d\", or 0, not %.40s", data)
	}
	d, err := pipeline.ParseDuration(text)
	*a = Age(d)
	return err
}
