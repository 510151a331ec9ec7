package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/strata-ci/strata/internal/config"
)

func TestParse(t *testing.T) {
	want := config.Default()
	want.Cache.MaxBytes = 3 << 30
	want.Failures.Age = config.Age(48 * time.Hour)
	want.Failures.Bytes = 0
	got, err := config.Parse([]byte(`{"cache": {"max_bytes": "3GiB"}, "failures": {"age": "2d", "bytes": 0}}`))
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for text, says := range map[string]string{
		`{"cache": {"max_byte": "3GiB"}}`:                        `:1: unknown setting "max_byte" (did you mean "max_bytes"?)`,
		"{\n\"cache\": {\n\"max_bytes\": 7\n}\n}\n":              `:3: "cache.max_bytes": a size is a string such as "20GiB"`,
		"{\n\"cache\": {\n\"keep\": 7\n}\n}\n":                   `:3: unknown setting "keep"`,
		"{\"failures\": {\n\"age\": 0,\n\"age\": 0}}":            `:3: "age" is there twice`,
		"{\"failures\": {\"count\": null}}":                      `:1: "failures.count" has no value`,
		"{\n\"cache\": [1]}":                                     `:2: "cache" has to be an object`,
		"{\n\"cache\": {}":                                       `:2: unexpected EOF`,
		"{\n\"cache\" {}":                                        `:2: invalid character '{'`,
		"{\n\n\"failures\": {\"count\": \"ten\"}}":               `:3: "failures.count" cannot be a string`,
		`{"failures": {"count": -1}}`:                            `negative`,
		`{"cache": {"max_bytes": "1GiB", "keep_bytes": "2GiB"}}`: `keep_bytes`,
		`{} {}`:                           `more after`,
		`{"failures": {"age": "soon"}}`:   `soon`,
		``:                                `EOF`,
		strings.Repeat(" ", 1<<20) + `{}`: `more than`,
	} {
		if _, err := config.Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.60q: the error is %v, without %q", text, err, says)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	t.Setenv("HOME", dir)
	none := func(string) string { return "" }
	if got, err := config.Load(none); err != nil || got != config.Default() {
		t.Errorf("without a file: %+v, %v", got, err)
	}
	path := filepath.Join(dir, "mine.json")
	named := func(name string) string { return map[string]string{"STRATA_CONFIG": path}[name] }
	if _, err := config.Load(named); err == nil || !strings.Contains(err.Error(), "mine.json") {
		t.Errorf("a file that is named and not there: %v", err)
	}
	if err := os.WriteFile(path, []byte("{\n\"cache\": 1}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(named); err == nil || !strings.Contains(err.Error(), "mine.json:2: ") {
		t.Errorf("the error does not name the place: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"cache": {"max_bytes": "3GiB"}}`))
	f.Add([]byte(`{"failures": {"count": 1, "age": "7d"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := config.Parse(data)
		if err == nil && (c.Cache.KeepBytes > c.Cache.MaxBytes || c.Failures.Count < 0) {
			t.Errorf("taken: %+v", c)
		}
	})
}
