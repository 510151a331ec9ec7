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
	"os"
	"path/filepath"
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

// Default is what holds where nothing is set. BuildKit keeps a tenth of the
// disk and ccache 5 GiB: 20 GiB lies between them on a laptop, and is what some
// hundred builds with their dependencies come to.
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
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(&c)
	at := d.InputOffset()
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("there is more after the settings")
		}
	}
	if err == nil {
		err = c.check()
	}
	if err == nil {
		return c, nil
	}
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		at = syntax.Offset
	case errors.As(err, &wrong):
		at = wrong.Offset
		err = fmt.Errorf("%q cannot be a %s", wrong.Field, wrong.Value)
	}
	line := 1 + bytes.Count(data[:min(int(at), len(data))], []byte("\n"))
	return Config{}, fmt.Errorf(":%d: %s", line, plain(err))
}

// names are all settings.
var names = []string{"cache", "max_bytes", "min_free_bytes", "keep_bytes", "failures", "count", "bytes", "age"}

func plain(err error) string {
	text := strings.TrimPrefix(err.Error(), "json: ")
	if name, ok := strings.CutPrefix(text, "unknown field "); ok {
		return fmt.Sprintf("unknown setting %s%s", name, suggest.Hint(strings.Trim(name, `"`), names))
	}
	return text
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
