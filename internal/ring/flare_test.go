package ring

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

func TestFlareCancelsAttempts(t *testing.T) {
	r := testRing(func(c *Config) { c.Join = false })
	r.sealed(t, frame.Logs, "x")
	f, _ := r.Lease(Wish{Now: begin})
	cancelled := 0
	_, release, _ := r.Begin(f, begin, func() { cancelled++ })
	fl := r.Take(everything(Telemetry))
	require.Equal(t, 1, cancelled)
	r.Return(f)
	release()
	values := r.Fix(fl)
	require.Equal(t, int64(2), values[0].Header.Attempt)
	r.GiveUp(fl, true)
	f, first := r.Lease(Wish{Now: begin})
	require.False(t, first)
	require.Equal(t, int64(3), r.attempted(t, f).Header.Attempt, "the PUT may have landed")
	r.Ack(f, 0)
	require.Equal(t, Delivered, f.Fate())
	require.Zero(t, r.Snapshot().Used)
}
