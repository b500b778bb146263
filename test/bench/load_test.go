package bench

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
)

// No figure from a load that compresses better than telemetry means anything.
func TestRatio(t *testing.T) {
	for _, s := range []frame.Signal{frame.Traces, frame.Metrics, frame.Logs} {
		for _, items := range []int{5, 100, 1000} {
			pool, err := Load{Signal: s, Items: items}.Pool(1)
			require.NoError(t, err)
			ratio, size, err := Ratio(s, pool)
			require.NoError(t, err)
			t.Logf("%s, %d a request: ratio %.2f, %.0f bytes an item, %d requests", s, items, ratio, size, len(pool))
			assert.LessOrEqual(t, ratio, 6.5)
			assert.Greater(t, ratio, 3.0)
			n, err := otlpcodec.Count(s, pool[0])
			require.NoError(t, err)
			require.EqualValues(t, items, n)
		}
	}
	pool, err := Load{Signal: frame.Traces, Items: 100, Noise: 2000}.Pool(1)
	require.NoError(t, err)
	ratio, _, err := Ratio(frame.Traces, pool)
	require.NoError(t, err)
	require.Less(t, ratio, 1.25)
}
