//go:build unix && !race

package ring

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// mapped is anonymous memory outside the Go heap: the garbage collector neither
// looks at it nor lets the heap grow in proportion to it.
type mapped struct{}

// system returns where a ring's chunks come from on this platform.
func system() memory { return mapped{} }

func (mapped) get() ([]byte, error) {
	chunk, err := unix.Mmap(-1, 0, chunkSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err == nil && runtime.GOOS == "linux" {
		_ = unix.Madvise(chunk, dontDump) // a kernel that cannot leaves it in core dumps
	}
	return chunk, err
}

// dontDump is MADV_DONTDUMP: telemetry does not belong into a core dump.
const dontDump = 16

func (mapped) put(chunk []byte) {
	_ = unix.Munmap(chunk) // it is what Mmap returned
}
