//go:build !linux

package main

// openIsolated has nothing to open: no isolating runner exists for this system yet.
func (r *runners) openIsolated(*store) error {
	r.fallback = "steps run without isolation, in copies of the workspace: this system has no isolating runner"
	return nil
}

func isolatedStandIns() []standIn { return nil }
