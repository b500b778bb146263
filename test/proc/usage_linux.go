package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// CPU returns the CPU time, user and system, that all threads of the child have
// used so far. The child must not have ended.
func (p *Process) CPU() (time.Duration, error) {
	var ts unix.Timespec
	clock := int32(^p.PID()<<3 | 2) //nolint:gosec // the kernel's id of a process's CPU clock, all its threads
	if err := unix.ClockGettime(clock, &ts); err != nil {
		return 0, fmt.Errorf("read the CPU time of %s: %w", p.name, err)
	}
	return time.Duration(ts.Nano()), nil
}

// RSS returns the bytes of the child's memory that are resident. The child must
// not have ended.
func (p *Process) RSS() (int64, error) { return p.memory("smaps_rollup", "Rss:") }

// PeakRSS returns the most that RSS ever was. The child must not have ended.
func (p *Process) PeakRSS() (int64, error) { return p.memory("status", "VmHWM:") }

// memory reads one line of a file of the kernel's about the child.
func (p *Process) memory(file, line string) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.PID(), file))
	if err != nil {
		return 0, fmt.Errorf("read the resident memory of %s: %w", p.name, err)
	}
	for l := range bytes.Lines(data) {
		rest, ok := bytes.CutPrefix(l, []byte(line))
		if !ok {
			continue
		}
		kib, err := strconv.ParseInt(string(bytes.TrimSuffix(bytes.TrimSpace(rest), []byte(" kB"))), 10, 64)
		return kib << 10, err
	}
	return 0, fmt.Errorf("no %s in the %s of %s", line, file, p.name)
}
