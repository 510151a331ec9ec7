package workspace_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	helper, ok := helpers[os.Getenv("STRATA_TEST_HELPER")]
	if !ok {
		goleak.VerifyTestMain(m)
		return
	}
	if err := helper(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
