package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/test/env"
	"github.com/otel-lifeline/lifeline/test/stack"
)

// TestDrill: with everything well, a marked record goes from the agent's ring
// through the bucket to the recovery that decodes it, and to nobody else.
func TestDrill(t *testing.T) {
	s := newStack(t)
	ctx := env.Within(t, 60*time.Second)
	s.Agent.Env = append(s.Agent.Env, "LIFELINE_DRILL_INTERVAL=2s", "LIFELINE_MAX_AGE=2s", "LIFELINE_SCRAPE_INTERVAL=1h")
	s.Recovery.Env = append(s.Recovery.Env, "LIFELINE_POLL_INTERVAL=1s")
	for _, r := range []*stack.Role{s.Gateway, s.Recovery, s.Agent} {
		require.NoError(t, r.Start(ctx))
	}
	_, err := s.Agent.P.WaitLine(ctx, "A drill was stored", `"reason": "drill"`)
	require.NoError(t, err)
	_, err = s.Recovery.P.WaitLine(ctx, "drill came through", stack.Principal)
	require.NoError(t, err)

	m, err := s.Agent.Scrape(ctx)
	require.NoError(t, err)
	require.InDelta(t, time.Now().Unix(), m.Sum("otelcol_lifeline_drill_last_put"), 60)
	require.Zero(t, m.Sum("otelcol_lifeline_accepted_items", `signal="logs"`))
	r, err := s.Recovery.Scrape(ctx)
	require.NoError(t, err)
	require.Positive(t, r.Sum("otelcol_lifeline_recovery_drills"))
}
