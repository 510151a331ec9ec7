//go:build linux

package snapshot

// SetMaxLayers makes the store flatten chains of more layers than that.
func (s *Store) SetMaxLayers(n int) { s.maxLayers = n }

// Abandon ends the store as a kill of its process does: all locks are gone, and
// what it was going to remove stays.
func (s *Store) Abandon() {
	for _, l := range s.layers {
		_ = l.unlock()
	}
	close(s.cleaner.work)
	<-s.cleaner.done
	if s.live != nil {
		_ = s.live.lock.Close()
	}
}

// The coding of modes in records.
var (
	EncodeModes = encodeModes
	DecodeModes = decodeModes
)
