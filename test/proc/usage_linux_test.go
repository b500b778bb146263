package proc

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestUsage(t *testing.T) {
	p := child(t, "polite")
	_, err := p.WaitLine(t.Context(), "ready")
	require.NoError(t, err)
	cpu, err := p.CPU()
	require.NoError(t, err)
	require.Positive(t, cpu)
	rss, err := p.RSS()
	require.NoError(t, err)
	require.Greater(t, rss, int64(1<<20))
	peak, err := p.PeakRSS()
	require.NoError(t, err)
	require.GreaterOrEqual(t, peak, rss-1<<20, "the kernel counts in batches")
	p.Kill()
	_, err = p.CPU()
	require.Error(t, err)
	_, err = p.RSS()
	require.Error(t, err)
}

// A child that would take all it can get is held to a tenth of a CPU.
func TestLimit(t *testing.T) {
	p := child(t, "busy")
	_, err := p.WaitLine(t.Context(), "turning")
	require.NoError(t, err)
	l, end, err := p.startLimit(0.1)
	require.NoError(t, err)
	before, err := p.CPU()
	require.NoError(t, err)
	began := time.Now()
	_, err = p.WaitLine(t.Context(), "turned") // after 60 ms of CPU time
	require.NoError(t, err)
	after, err := p.CPU()
	require.NoError(t, err)
	took := time.Since(began)
	end()
	require.LessOrEqual(t, after-before, took/10+2*burst+2*l.blind, "however busy this machine is")
	_, err = p.WaitLine(t.Context(), "turned again")
	require.NoError(t, err, "it goes on without a limit")
	p.Kill()
}
