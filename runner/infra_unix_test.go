//go:build !windows

package runner_test

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/strata-ci/strata/runner"
)

func TestDiskFullIsSeenThroughWrapping(t *testing.T) {
	for err, want := range map[error]bool{
		syscall.ENOSPC: true,
		syscall.EDQUOT: true,
		fmt.Errorf("copy: %w", &os.PathError{Op: "write", Path: "f", Err: syscall.ENOSPC}): true,
		syscall.EACCES: false,
		nil:            false,
	} {
		if got := runner.IsDiskFull(err); got != want {
			t.Errorf("IsDiskFull(%v) = %v", err, got)
		}
	}
	infra := runner.AsInfra("write the log", fmt.Errorf("append: %w", syscall.ENOSPC))
	if infra.Kind != runner.KindDiskFull {
		t.Errorf("a full disk is of kind %q", infra.Kind)
	}
}
