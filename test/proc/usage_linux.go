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
func (p *Process) RSS() (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.PID()))
	if err != nil {
		return 0, fmt.Errorf("read the resident memory of %s: %w", p.name, err)
	}
	for line := range bytes.Lines(data) {
		rest, ok := bytes.CutPrefix(line, []byte("Rss:"))
		if !ok {
			continue
		}
		kib, err := strconv.ParseInt(string(bytes.TrimSuffix(bytes.TrimSpace(rest), []byte(" kB"))), 10, 64)
		return kib << 10, err
	}
	return 0, fmt.Errorf("no Rss in the smaps_rollup of %s", p.name)
}
