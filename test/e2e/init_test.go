package e2e

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/audit"
	"github.com/otel-lifeline/lifeline/test/env"
	"github.com/otel-lifeline/lifeline/test/s3"
	"github.com/otel-lifeline/lifeline/test/stack"
)

// TestInit: what `lifeline init` writes into an empty folder validates and runs,
// with nothing set but this host's addresses: spans go to Kafka, in an outage into
// flares, and from there to Kafka, with acks that prove themselves all the way.
func TestInit(t *testing.T) {
	s := newStack(t)
	ctx := env.Within(t, 90*time.Second)
	dir := s.Path("init")
	_, err := s.Run(ctx, "init", dir, "--principal", stack.Principal, "--audience", "init-test", "--bucket", s3.Bucket,
		"--region", s3.Region, "--endpoint", s.Guard.Endpoint(), "--gateway", "http://"+s.Addr.GatewayHTTP, "--kafka", s.Brokers)
	require.NoError(t, err)
	require.NoError(t, s3.Writer.WriteFile(filepath.Join(dir, "s3")))
	require.NoError(t, s3.Recovery.WriteFile(filepath.Join(dir, "s3-recovery")))

	addresses := []string{
		"LIFELINE_HTTP=" + s.Addr.GatewayHTTP, "LIFELINE_GRPC=" + s.Addr.GatewayGRPC, "LIFELINE_RECOVERY_HTTP=" + s.Addr.GatewayRecovery,
		"LIFELINE_OTLP_HTTP=" + s.Addr.AgentHTTP, "LIFELINE_OTLP_GRPC=" + s.Addr.AgentGRPC,
		"LIFELINE_FORWARD=http://" + s.Addr.GatewayRecovery, "LIFELINE_LOG_FILE=" + s.Path("app.log"), "LIFELINE_STATE_DIR=" + s.Path("agent"),
		"LIFELINE_MAX_AGE=2s", "LIFELINE_SCRAPE_INTERVAL=1h", "LIFELINE_POLL_INTERVAL=1s",
	}
	for _, r := range []*stack.Role{s.Gateway, s.Recovery, s.Agent} {
		r.Configs = []string{filepath.Join(dir, r.Name+".yaml")}
		own := []string{"LIFELINE_HEALTH", "LIFELINE_METRICS_PORT", "LIFELINE_STATUS"}
		r.Env = slices.DeleteFunc(r.Env, func(kv string) bool {
			name, _, _ := strings.Cut(kv, "=")
			return strings.HasPrefix(name, "LIFELINE_") && !slices.Contains(own, name)
		})
		r.Env = append(r.Env, addresses...)
		_, err := s.Run(ctx, "check", "--collector", otelcol, r.Configs[0])
		require.NoError(t, err)
		out, err := validate(t, r.Configs[0])
		require.NoError(t, err, out)
	}

	require.NoError(t, s.Gateway.Start(ctx))
	require.NoError(t, s.Recovery.Start(ctx))
	require.NoError(t, s.Agent.Start(ctx))
	var l audit.Ledger
	accept(ctx, t, s, &l, 1)
	waitKafka(ctx, t, s, &l)

	for _, r := range []*stack.Role{s.Gateway, s.Recovery, s.Agent} {
		args := []string{"check", "--live", r.Configs[0]}
		if r == s.Recovery {
			args = append(args, "yaml:extensions::flare_recovery::forward::http::endpoint: http://"+s.Addr.GatewayRecovery)
		}
		out, err := s.Run(ctx, args...)
		require.NoError(t, err)
		require.Contains(t, out, "good: ")
	}
	out, err := s.Run(ctx, "drill", s.Agent.Configs[0], "--recovery", s.Recovery.Configs[0], "--json")
	require.NoError(t, err)
	require.Contains(t, out, `"state":"recovered"`)
	_, err = s.Recovery.P.WaitLine(ctx, "drill")
	require.NoError(t, err)

	require.NoError(t, s.Gateway.Stop(ctx))
	accept(ctx, t, s, &l, 3)
	_, err = s.Agent.P.WaitLine(ctx, "A flare was stored", `"reason": "expired"`)
	require.NoError(t, err)
	require.NoError(t, s.Gateway.Start(ctx))
	waitKafka(ctx, t, s, &l)
	_, err = s.Recovery.P.WaitLine(ctx, "flare recovered")
	require.NoError(t, err)
}
