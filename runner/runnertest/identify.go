package runnertest

import (
	"context"
	"maps"

	"github.com/strata-ci/strata/pipeline"
	"github.com/strata-ci/strata/runner"
)

// How one state of an image is told from another.
var identifyTests = []test{
	{name: "has named parts", fn: func(c *check) {
		parts := c.identify(pipeline.Step{})
		if len(parts) == 0 {
			c.Error("the image has no parts, so that none of its changes would be seen")
		}
		for name, value := range parts {
			if name == "" || value == "" {
				c.Errorf("the part %q is %q", name, value)
			}
		}
	}},
	{name: "is the same twice", fn: func(c *check) {
		first := c.identify(pipeline.Step{})
		again := c.identify(pipeline.Step{Name: "other", Command: pipeline.Command{Shell: "other"}, Dir: "dir"})
		if !maps.Equal(first, again) {
			c.Errorf("the same image is %v and then %v", first, again)
		}
		if c.props.Reopen == nil {
			return
		}
		c.change(false)
		if later := c.identify(pipeline.Step{}); !maps.Equal(first, later) {
			c.Errorf("for another runner the same image is %v, not %v", later, first)
		}
	}},
}

func (c *check) identify(s pipeline.Step) map[string]string {
	c.Helper()
	identifier, ok := c.runner.(runner.ImageIdentifier)
	if !ok {
		c.Skip("the runner does not implement ImageIdentifier")
	}
	parts, err := identifier.IdentifyImage(context.Background(), s)
	if err != nil {
		c.Fatalf("IdentifyImage: %v", err)
	}
	return parts
}
