//go:build linux

package sandbox

import (
	"math"
	"strconv"

	"golang.org/x/sys/unix"
)

// setting is one value for one control file.
type setting struct {
	controller  controller
	file, value string
	mayFail     unix.Errno // an errno that is not a fault; 0 for none
}

// cpuPeriod is the kernel's default for sharing out CPU time, in microseconds
// (linux: Documentation/scheduler/sched-bwc.rst), as is the least quota.
const (
	cpuPeriod   = 100_000
	minCPUQuota = 1_000
)

func (g *Cgroups) settings(l Limits) []setting {
	if g.unified {
		return settings2(l)
	}
	return settings1(l)
}

// settings1 are those of cgroup version 1
// (linux: Documentation/admin-guide/cgroup-v1 and scheduler/sched-bwc.rst).
func settings1(l Limits) []setting {
	var s []setting
	if l.CPUs > 0 {
		// EINVAL: a group around it has less, so that is the limit.
		s = append(s,
			setting{controlCPU, "cpu.cfs_period_us", strconv.Itoa(cpuPeriod), 0},
			setting{controlCPU, "cpu.cfs_quota_us", cpuQuota(l.CPUs), unix.EINVAL})
	}
	if l.Memory > 0 {
		// ENOENT: the machine does not account for swap.
		bytes := strconv.FormatInt(l.Memory, 10)
		s = append(s,
			setting{controlMemory, "memory.limit_in_bytes", bytes, 0},
			setting{controlMemory, "memory.memsw.limit_in_bytes", bytes, unix.ENOENT})
	}
	if l.Processes > 0 {
		// The thread of the cell that starts the command is in the group too.
		s = append(s, setting{controlPids, "pids.max", strconv.Itoa(l.Processes + 1), 0})
	}
	return s
}

// settings2 are those of cgroup version 2
// (linux: Documentation/admin-guide/cgroup-v2.rst).
func settings2(l Limits) []setting {
	var s []setting
	if l.CPUs > 0 {
		s = append(s, setting{controlCPU, "cpu.max", cpuQuota(l.CPUs) + " " + strconv.Itoa(cpuPeriod), 0})
	}
	if l.Memory > 0 {
		// ENOENT: as above.
		s = append(s,
			setting{controlMemory, "memory.max", strconv.FormatInt(l.Memory, 10), 0},
			setting{controlMemory, "memory.swap.max", "0", unix.ENOENT})
	}
	if l.Processes > 0 {
		s = append(s, setting{controlPids, "pids.max", strconv.Itoa(l.Processes), 0})
	}
	return s
}

// cpuQuota is how many microseconds of each period a number of CPUs has.
func cpuQuota(cpus float64) string {
	return strconv.FormatInt(int64(math.Max(minCPUQuota, math.Round(cpus*cpuPeriod))), 10)
}
