package runner_test

import (
	"bytes"
	"testing"

	"github.com/strata-ci/strata/runner"
)

type uncomparable func([]byte) (int, error)

func (u uncomparable) Write(p []byte) (int, error) { return u(p) }

type nested struct{ inner any }

func (n nested) Write(p []byte) (int, error) { return len(p), nil }

func TestOneWriter(t *testing.T) {
	var a, b bytes.Buffer
	u := uncomparable(nil)
	for _, tt := range []struct {
		name string
		sc   runner.StepContext
		want bool
	}{
		{"one", runner.StepContext{Stdout: &a, Stderr: &a}, true},
		{"two", runner.StepContext{Stdout: &a, Stderr: &b}, false},
		{"functions", runner.StepContext{Stdout: u, Stderr: u}, false},
		{"fields that hold functions", runner.StepContext{Stdout: nested{u}, Stderr: nested{u}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.sc.OneWriter(); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
