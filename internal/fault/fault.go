//go:build !faults || !unix

// Package fault marks the places where data reaches the disk or a transaction
// commits, so that tests can kill the process or fail a write at each of them.
//
// In: names of places. Out: nothing, in every build but one with the tag
// "faults", where the environment says what happens at which place: see
// faults.go. It never does anything by itself.
package fault

// Point marks a place. Its error is one that a failing disk would give there.
func Point(string) error { return nil }

// Cut marks the write of data. It returns the part that is to be written, and
// the error that is to be reported once it is.
func Cut(_ string, data []byte) ([]byte, error) { return data, nil }

// Boot returns the name of this boot of the machine, which tests can change.
func Boot(id string) string { return id }
