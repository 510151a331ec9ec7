//go:build linux

package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/strata-ci/strata/pipeline"
)

// args are the runner_args of a container step.
type args struct {
	// Nested allows the step to make sandboxes of its own.
	Nested bool `json:"nested"`
	// HostPaths are absolute paths of this machine that the step sees read-only.
	HostPaths []string `json:"host_paths"`
}

func parseArgs(data json.RawMessage) (args, error) {
	var a args
	if len(data) == 0 {
		return a, nil
	}
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) && wrong.Field != "" {
			err = fmt.Errorf("%q is a %s", wrong.Field, wrong.Value)
		}
		return a, fmt.Errorf(`runner_args: %s: the container runner takes "nested" (true or false) and "host_paths" (a list of absolute paths)`,
			strings.TrimPrefix(err.Error(), "json: "))
	}
	for _, p := range a.HostPaths {
		if !filepath.IsAbs(p) || filepath.Clean(p) != p {
			return a, fmt.Errorf("host_paths: %q is not a clean absolute path", p)
		}
		for _, own := range []string{"/dev", "/proc", "/sys", "/workspace"} {
			if p == "/" || below(p, own) {
				return a, fmt.Errorf("host_paths: %q is the step's own, and cannot be the machine's", p)
			}
		}
	}
	return a, nil
}

// CheckStep checks a step's image and runner_args, on any machine.
func CheckStep(step pipeline.Step) error {
	if step.Image != "" && step.Image != pipeline.ImageHost {
		return fmt.Errorf("it knows the image %q only, not %q", pipeline.ImageHost, step.Image)
	}
	_, err := parseArgs(step.RunnerArgs)
	return err
}
