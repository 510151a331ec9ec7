//go:build linux && faults

package crashtest

import (
	"fmt"
	"testing"

	"github.com/strata-ci/strata/internal/fault"
)

// TestFailingDisk makes the disk fail at each place, for once or from then on.
// Such a run may end as an infrastructure failure, or as if nothing had been;
// it never says anything wrong, and the next one is as it should be.
func TestFailingDisk(t *testing.T) {
	for _, sc := range scenarios() {
		for _, kind := range []fault.Kind{fault.Full, fault.NoSpace, fault.Broken} {
			t.Run(sc.name+"/"+string(kind), func(t *testing.T) {
				t.Parallel()
				s := newSite(t)
				s.again(sc.pipeline, "nothing")
				names := s.places(sc)
				for n, name := range names {
					sc.prepare(s)
					o := s.run([]string{fault.At(kind, n+1)}, sc.args...)
					survived.failures.Add(1)
					after := fmt.Sprintf("%s, %s at place %d of %d, about %s", sc.name, kind, n+1, len(names), name)
					if err := s.checkFailure(sc.pipeline, o); err != nil {
						t.Fatalf("%s: %v", after, err)
					}
					s.alone(after)
					s.again(sc.pipeline, after)
				}
			})
		}
	}
}

// checkFailure says what is wrong with a run whose disk failed.
func (s *site) checkFailure(pipeline string, o outcome) error {
	const infrastructure = 3
	switch {
	case o.code != verdict(pipeline) && o.code != infrastructure:
		return fmt.Errorf("the verdict is wrong: %v", o)
	case o.code == infrastructure && o.stderr == "" && !o.explained():
		return fmt.Errorf("nothing says what failed: %v", o)
	}
	return s.checkOutput(pipeline, o)
}

// explained reports whether an event says why the run failed.
func (o outcome) explained() bool {
	for _, e := range o.events {
		if e.Error != nil && e.Error.Message != "" {
			return true
		}
	}
	return false
}
