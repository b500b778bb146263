package proc

import (
	"testing"

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
	p.Kill()
	_, err = p.CPU()
	require.Error(t, err)
	_, err = p.RSS()
	require.Error(t, err)
}
