//go:build !race

package sim

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheSameSeedIsTheSameRun plays some seeds twice. The race detector is too
// slow for that.
func TestTheSameSeedIsTheSameRun(t *testing.T) {
	keys := testKeys(t)
	for i := range max(1, *runs/50) {
		s := *seed + uint64(i)
		first, second := run(t, s, keys), run(t, s, keys)
		first.Events, second.Events = append(first.Events, "the end"), append(second.Events, "the end")
		for i := range min(len(first.Events), len(second.Events)) {
			if first.Events[i] != second.Events[i] {
				t.Fatalf("seed %d: at first\n\t%s\nthen\n\t%s", s, first.Events[i], second.Events[i])
			}
		}
		require.Equal(t, first.Tally, second.Tally, "seed %d", s)
	}
}
