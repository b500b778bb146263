package e2e

import (
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/test/env"
)

// TestFIPSOnly: where the algorithms of flares are forbidden, whoever can do
// nothing without them refuses to start and says why. An agent can: it delivers,
// and shows that its fallback would not work.
func TestFIPSOnly(t *testing.T) {
	const only = "GODEBUG=fips140=only"
	s := newStack(t)
	ctx := env.Within(t, 90*time.Second)

	s.Recovery.Env = append(s.Recovery.Env, only)
	require.NoError(t, s.Recovery.Launch())
	err := s.Recovery.P.Wait(ctx)
	require.ErrorContains(t, err, "exit status 1")
	require.ErrorContains(t, err, "flare_recovery: flares use X25519 and ChaCha20-Poly1305, which GODEBUG=fips140=only forbids")
	require.ErrorContains(t, err, "run with fips140=on or off")

	cli := exec.CommandContext(ctx, lifeline, "keygen", "recovery", "--output", s.Path("keys", "never.key")) //nolint:gosec // our own binary
	cli.Env = s.Recovery.Env
	out, err := cli.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "GODEBUG=fips140=only forbids")
	require.NoFileExists(t, s.Path("keys", "never.key"))

	sink := newSink(t, nil)
	agent(s, sink, only)
	require.NoError(t, s.Agent.Start(ctx))
	_, err = s.Agent.P.WaitLine(ctx, "The key files of the fallback are not usable", "fips140=only")
	require.NoError(t, err)
	post(ctx, s, sink, 0, 3)
	sink.waitAll(ctx, frame.Traces)
	m, err := s.Agent.Scrape(ctx)
	require.NoError(t, err)
	require.True(t, m.Has("otelcol_lifeline_flare_ready"))
	require.Zero(t, m.Sum("otelcol_lifeline_flare_ready"))
	require.NoError(t, s.Agent.Stop(ctx))
}
