package lifelineexporter

import (
	"os"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"github.com/otel-lifeline/lifeline/internal/bytesize"
)

// cgroupLimit is where Linux tells a container how much memory it may use.
const cgroupLimit = "/sys/fs/cgroup/memory.max"

// warnOfLimit warns when the limit in the file is below what the ring may grow
// to: the kernel would end the agent in an outage, and the ring with it.
func warnOfLimit(log *zap.Logger, path string, capacity bytesize.Size) {
	text, err := os.ReadFile(path) //nolint:gosec // a constant path but in tests
	if err != nil {
		return // no cgroup v2 here, hence no such limit
	}
	limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || bytesize.Size(limit) >= capacity+capacity/4+16*bytesize.MiB {
		return // "max", or enough
	}
	log.Warn("The memory limit of this cgroup is below what the ring may grow to: ring::capacity and a quarter, and 16MiB. Raise the limit or lower ring::capacity.",
		zap.Stringer("limit", bytesize.Size(limit)), zap.Stringer("capacity", capacity))
}
