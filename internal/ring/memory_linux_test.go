//go:build linux && !race

package ring

import (
	"bufio"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// resident returns the bytes that Linux has given this process for mappings that
// do not go into a core dump: those of rings.
func resident(t *testing.T) (bytes int64) {
	t.Helper()
	file, err := os.Open("/proc/self/smaps")
	require.NoError(t, err)
	defer file.Close()
	rss := int64(0)
	for lines := bufio.NewScanner(file); lines.Scan(); {
		switch fields := strings.Fields(lines.Text()); fields[0] {
		case "Rss:":
			rss, err = strconv.ParseInt(fields[1], 10, 64)
			require.NoError(t, err)
		case "VmFlags:":
			if strings.Contains(lines.Text()+" ", " dd ") {
				bytes += rss << 10
			}
		}
	}
	return bytes
}

func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // not that much
}

// TestAFullRingIsOutsideTheHeap fills 64 MiB with bytes that do not compress and
// lets them go again, in another order.
func TestAFullRingIsOutsideTheHeap(t *testing.T) {
	const capacity = 64 << 20
	r := New(Config{Agent: "a", Boot: frame.RandomHex(), Capacity: capacity, SetAside: 8 << 20, MaxFrame: 256 << 10})
	raw := make([]byte, 200<<10)
	source := rand.NewChaCha8([32]byte{})
	mappedBefore, heapBefore := resident(t), heapInUse()
	for {
		_, _ = source.Read(raw)
		full, _, err := r.Push(Call{Signal: frame.Logs, Pieces: []Piece{{raw, 1}}, Now: begin})
		if err != nil {
			require.ErrorIs(t, err, ErrFull)
			break
		}
		require.True(t, r.Seal(full[0], store))
	}
	blob := r.NewBlob(8 << 20)
	for range (8 << 20) / len(raw) {
		_, err := blob.Write(raw)
		require.NoError(t, err)
	}
	used := r.Snapshot().Used
	mapped, heap := resident(t)-mappedBefore, heapInUse()-heapBefore
	t.Logf("%d MiB used, %d MiB resident outside the heap, %d KiB more heap", used>>20, mapped>>20, heap>>10)
	require.Greater(t, used, int64(capacity*95/100))
	require.GreaterOrEqual(t, mapped, used)
	require.LessOrEqual(t, mapped, int64(capacity+chunkSize))
	require.Less(t, heap, int64(2<<20))

	blob.Close()
	blob.Free()
	for n := 0; ; n++ {
		f, _ := r.Lease(Wish{Now: begin, Spread: n % 3 * 100})
		if f == nil {
			break
		}
		_, release, _ := r.Begin(f, begin, nil)
		release()
		r.Ack(f, 0)
		if n == 150 {
			require.Less(t, resident(t)-mappedBefore, mapped-20<<20, "half empty, it has given back much")
		}
	}
	require.Zero(t, r.Snapshot().Used)
	require.Equal(t, mappedBefore+spareChunks*chunkSize, resident(t), "drained, it keeps what the next frames need")
	require.NoError(t, r.Check())
	r.LoseAll("shutdown")
	require.Equal(t, mappedBefore, resident(t), "at its end it has given back all")
}
