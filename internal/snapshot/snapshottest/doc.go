// Package snapshottest is the conformance suite of the ways to keep snapshots.
// A driver's own test is one call to [Run].
//
// In: a function that opens an empty store. Out: a subtest for each promise.
// What a fork shows is judged by mounting it, in a user namespace of an
// ordinary user where the test has one. It never looks at how layers are kept.
package snapshottest
