//go:build !race

package sim

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheSameSeedIsTheSameRun plays some seeds twice. The race detector shuffles
// goroutines, so that no two runs are the same under it.
func TestTheSameSeedIsTheSameRun(t *testing.T) {
	// Which of two goroutines of one instant is first is up to the scheduler; with
	// one processor it hardly has a choice.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	keys := testKeys(t)
	for i := range max(1, *runs/50) {
		s := *seed + uint64(i)
		first, second := run(t, s, keys), run(t, s, keys)
		require.Equal(t, first.Tally, second.Tally, "seed %d", s)
		require.Equal(t, first.Digest, second.Digest, "seed %d", s)
	}
}
