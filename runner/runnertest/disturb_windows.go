package runnertest

import "testing"

// disturbProcess does nothing: Windows has no mask, and no file is inherited
// unless it is named.
func disturbProcess(testing.TB) (restore func()) { return func() {} }
