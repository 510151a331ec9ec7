package sandbox

import "golang.org/x/sys/unix"

const (
	auditArch      = unix.AUDIT_ARCH_AARCH64
	foreignNumbers = 1 << 31 // none
)

var deniedOnArch = []uint32{unix.SYS_KEXEC_FILE_LOAD}
