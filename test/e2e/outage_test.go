package e2e

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/audit"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/test/env"
	"github.com/otel-lifeline/lifeline/test/kafka"
	"github.com/otel-lifeline/lifeline/test/s3"
	"github.com/otel-lifeline/lifeline/test/stack"
)

// accept lets the stack's agent accept n requests of spans and notes them.
func accept(ctx context.Context, t *testing.T, s *stack.Stack, l *audit.Ledger, n uint64) {
	t.Helper()
	for i := range n {
		request := stack.Spans(i, time.Now())
		require.NoError(t, l.Accept(frame.Traces, request))
		status, _, err := stack.Post(ctx, s.Addr.AgentHTTP, frame.Traces, request)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
	}
}

// waitKafka consumes until every accepted span has come, and requires that none
// was altered and that every copy beyond the first is marked.
func waitKafka(ctx context.Context, t *testing.T, s *stack.Stack, l *audit.Ledger) {
	t.Helper()
	row, err := kafka.Await(ctx, s.Brokers, frame.Traces, l)
	require.NoError(t, err)
	require.True(t, row.OK(), "%+v", row)
	require.Equal(t, row.Duplicates, row.Marked)
}

// TestFaultsOfThePUT: whatever happens to the request that stores a flare, before
// its effect or after it, the spans stand in Kafka in the end.
func TestFaultsOfThePUT(t *testing.T) {
	for name, fault := range map[string]s3.Fault{"dropped": s3.Drop, "stored but not answered": s3.LostAck, "slow down": s3.SlowDown} {
		t.Run(name, func(t *testing.T) {
			s := newStack(t)
			ctx := env.Within(t, 60*time.Second)
			s.Agent.Env = append(s.Agent.Env, "LIFELINE_MAX_AGE=2s", "LIFELINE_SCRAPE_INTERVAL=1h")
			s.Recovery.Env = append(s.Recovery.Env, "LIFELINE_POLL_INTERVAL=1s")
			require.NoError(t, s.Agent.Start(ctx))
			s.Guard.Inject(fault, http.MethodPut, 2)
			var l audit.Ledger
			accept(ctx, t, s, &l, 3)
			_, err := s.Agent.P.WaitLine(ctx, "A flare was stored", `"reason": "expired"`)
			require.NoError(t, err)
			require.Equal(t, 2, s.Guard.Struck(), "the fault did not happen")
			require.NoError(t, s.Agent.Stop(ctx)) // nothing can come from the agent any more

			require.NoError(t, s.Gateway.Start(ctx))
			require.NoError(t, s.Recovery.Start(ctx))
			waitKafka(ctx, t, s, &l)
		})
	}
}

// TestKafkaOutage: with Kafka gone the gateway acks nothing. The agent holds its
// data, then flares it; recovery does not get through either. When Kafka is back,
// all of it is there.
func TestKafkaOutage(t *testing.T) {
	s := newStack(t)
	ctx := env.Within(t, 90*time.Second)
	s.Agent.Env = append(s.Agent.Env, "LIFELINE_MAX_AGE=6s", "LIFELINE_SCRAPE_INTERVAL=1h")
	s.Agent.Configs = append(s.Agent.Configs, quickly)
	s.Recovery.Env = append(s.Recovery.Env, "LIFELINE_POLL_INTERVAL=1s")
	// The answer comes on the receiver's own clock, whatever Kafka's client does.
	s.Gateway.Configs = append(s.Gateway.Configs, "yaml:receivers::lifeline::ack_timeout: 1500ms", "yaml:receivers::lifeline/recovery::ack_timeout: 1500ms")
	for _, r := range []*stack.Role{s.Gateway, s.Recovery, s.Agent} {
		require.NoError(t, r.Start(ctx))
	}
	s.Kafka.Close()
	var l audit.Ledger
	accept(ctx, t, s, &l, 3)
	_, err := s.Agent.P.WaitLine(ctx, "The gateway does not take data", "503")
	require.NoError(t, err)
	_, err = s.Agent.P.WaitLine(ctx, "A flare was stored", `"reason": "expired"`)
	require.NoError(t, err)
	_, err = s.Recovery.P.WaitLine(ctx, "recovery pauses: flares stay in the bucket", "503")
	require.NoError(t, err)

	require.NoError(t, s.Kafka.Restart())
	waitKafka(ctx, t, s, &l)
	_, err = s.Recovery.P.WaitLine(ctx, "flare recovered")
	require.NoError(t, err)
}
