package ring

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

func TestFailuresWhileOthersAreAcked(t *testing.T) {
	r := testRing(func(c *Config) { c.Join = false })
	r.sealed(t, frame.Logs, "x")
	bad, _ := r.Lease(Wish{Now: begin})
	fail := func() Failure {
		r.attempted(t, bad)
		judged, fail := r.Judge(bad), r.Nack(bad)
		require.Equal(t, judged, fail)
		return fail
	}
	deliver := func(s frame.Signal) {
		r.sealed(t, s, "x")
		f, _ := r.Lease(Wish{Now: begin, Spread: 100})
		require.NotEqual(t, bad, f, "not the other one")
		r.attempted(t, f)
		r.Ack(f, 0)
	}
	again := func() {
		f, _ := r.Lease(Wish{Now: begin, Suspects: true})
		require.Equal(t, bad, f)
	}
	require.Equal(t, Failure{}, fail())
	again()
	require.Equal(t, Failure{}, fail(), "nobody was acked")
	deliver(frame.Traces)
	again()
	require.Equal(t, Failure{1, false}, fail(), "another signal was")
	deliver(frame.Logs)
	again()
	require.Equal(t, Failure{2, true}, fail())
	deliver(frame.Logs)
	again()
	require.Equal(t, Failure{3, true}, fail())
	r.sealed(t, frame.Logs, "x")
	f, _ := r.Lease(Wish{Now: begin, Suspects: true})
	require.NotEqual(t, bad, f, "it goes to the back")
	f, _ = r.Lease(Wish{Now: begin})
	require.Nil(t, f, "and waits for its time")
}

// A flare that was given up with a PUT of unknown outcome counts as an attempt in
// the header. The acks from before the first request still say nothing about the
// frame: a gateway that refuses everything must not condemn it.
func TestAFlareGivenUpIsNoFirstAttempt(t *testing.T) {
	r := testRing(func(c *Config) { c.Join = false })
	r.sealed(t, frame.Logs, "x")
	r.GiveUp(r.Take(everything(Telemetry)), true)
	bad, _ := r.Lease(Wish{Now: begin})
	r.sealed(t, frame.Logs, "x")
	other, _ := r.Lease(Wish{Now: begin})
	r.attempted(t, other)
	r.Ack(other, 0)

	require.Equal(t, int64(2), r.attempted(t, bad).Header.Attempt)
	require.Equal(t, Failure{}, r.Judge(bad), "nothing was acked since it was sent for the first time")
	require.Equal(t, Failure{}, r.Nack(bad))
}
