//go:build linux

package snapshot

// SetMaxLayers makes the store flatten chains of more layers than that.
func (s *Store) SetMaxLayers(n int) { s.maxLayers = n }
