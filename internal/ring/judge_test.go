package ring

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// A flare that was given up with a PUT of unknown outcome counts as an attempt in
// the header. The acks from before the first request still say nothing about the
// frame: a gateway that refuses everything must not condemn it.
func TestAFlareGivenUpIsNoFirstAttempt(t *testing.T) {
	r := testRing(func(c *Config) { c.Join = false })
	seal := func() {
		require.True(t, r.Seal(r.pushed(t, frame.Logs, "", "x")[0], store))
	}
	seal()
	r.GiveUp(r.Take(FlareWish{Fits: func(int, int64, int64) bool { return true }}), true)
	bad, _ := r.Lease(Wish{Now: begin})
	seal()
	other, _ := r.Lease(Wish{Now: begin})
	_, release, _ := r.Begin(other, begin, nil)
	release()
	r.Ack(other, 0)

	v, release, ok := r.Begin(bad, begin, nil)
	require.True(t, ok)
	release()
	require.Equal(t, int64(2), v.Header.Attempt)
	require.Equal(t, Failure{}, r.Judge(bad), "nothing was acked since it was sent for the first time")
	require.Equal(t, Failure{}, r.Nack(bad))
}
