//go:build !linux

package workspace_test

// helpers are what tests run in processes of their own.
var helpers map[string]func() error
