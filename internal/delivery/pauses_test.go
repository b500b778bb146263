package delivery

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/ring"
)

func TestPauses(t *testing.T) {
	soon, late := time.Unix(1, 0), time.Unix(2, 0)
	for _, other := range []ring.Kind{ring.Parked, ring.Drill} {
		var p pauses
		p.failed(other, late)
		require.Equal(t, pauses{ring.Parked: late, ring.Drill: late}, p, "telemetry goes first")
		p.failed(ring.Telemetry, soon)
		require.Equal(t, pauses{ring.Telemetry: soon, ring.Parked: late, ring.Drill: late}, p)
	}
}
