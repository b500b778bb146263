package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/audit"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/test/env"
	"github.com/otel-lifeline/lifeline/test/stack"
)

// rows are those of one table, as the JSON of the status page has them.
type rows []map[string]any

// statusPage returns what a component of r shows, by the titles of its tables.
func statusPage(ctx context.Context, t *testing.T, r *stack.Role, component string) map[string]rows {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.Status+"/lifeline.json", http.NoBody)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	var page struct {
		Components []struct {
			Component, Problem string
			Tables             []struct {
				Title string
				Rows  rows
			}
		}
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&page))
	tables := map[string]rows{}
	for _, c := range page.Components {
		require.Empty(t, c.Problem)
		for _, table := range c.Tables {
			if c.Component == component {
				tables[table.Title] = table.Rows
			}
		}
	}
	require.NotEmpty(t, tables, "%s is not on the page", component)
	return tables
}

// TestStatusPageOfAGateway: while Kafka hangs, the page of the gateway shows the
// request that waits for it.
func TestStatusPageOfAGateway(t *testing.T) {
	s := newStack(t)
	ctx := env.Within(t, 60*time.Second)
	require.NoError(t, s.Gateway.Start(ctx))
	hung, resume := s.Kafka.Hang()
	t.Cleanup(resume)
	answered := make(chan int, 1)
	go func() {
		status, _, _ := stack.Post(ctx, s.Addr.GatewayHTTP, frame.Traces, stack.Spans(0, time.Now()))
		answered <- status
	}()
	require.NoError(t, closed(ctx, hung))

	tables := statusPage(ctx, t, s.Gateway, "receivers::lifeline")
	require.InDelta(t, 1, tables["requests"][0]["in_flight"], 0)
	require.Nil(t, tables["requests"][0]["window_for_recovery"])
	require.Len(t, tables["requests in flight"], 1)
	request := tables["requests in flight"][0]
	require.Equal(t, "writing", request["stage"])
	require.Equal(t, "traces", request["signal"])
	require.Equal(t, "127.0.0.1", request["peer"])
	require.Positive(t, request["age"])

	recovery := statusPage(ctx, t, s.Gateway, "receivers::lifeline/recovery")
	require.Empty(t, recovery["requests in flight"])
	require.Positive(t, recovery["requests"][0]["window_for_recovery"])
	resume()
	require.Equal(t, http.StatusOK, <-answered)
}

// TestStatusPagesOfAnOutage: the agent's page says what keeps it from the gateway,
// recovery's which agents flared, and why.
func TestStatusPagesOfAnOutage(t *testing.T) {
	s := newStack(t)
	ctx := env.Within(t, 60*time.Second)
	s.Agent.Env = append(s.Agent.Env, "LIFELINE_MAX_AGE=2s", "LIFELINE_SCRAPE_INTERVAL=1h")
	s.Recovery.Env = append(s.Recovery.Env, "LIFELINE_POLL_INTERVAL=1s")
	require.NoError(t, s.Agent.Start(ctx))
	var l audit.Ledger
	accept(ctx, t, s, &l, 3)
	_, err := s.Agent.P.WaitLine(ctx, "The gateway does not take data")
	require.NoError(t, err)
	agent := statusPage(ctx, t, s.Agent, "exporters::lifeline")
	require.Equal(t, "gateway", agent["problems"][0]["of"])
	require.Contains(t, agent["problems"][0]["problem"], "refused")
	require.Equal(t, "refused", agent["failed attempts since the last ack"][0]["cause"])
	require.Equal(t, "traces", agent["items"][0]["signal"])
	require.Positive(t, agent["items"][0]["accepted"])
	require.Empty(t, statusPage(ctx, t, s.Agent, "receivers::lifeline")["requests in flight"])
	_, err = s.Agent.P.WaitLine(ctx, "A flare was stored", `"reason": "expired"`)
	require.NoError(t, err)

	require.NoError(t, s.Gateway.Start(ctx))
	require.NoError(t, s.Recovery.Start(ctx))
	_, err = s.Recovery.P.WaitLine(ctx, "flare recovered")
	require.NoError(t, err)
	recovery := statusPage(ctx, t, s.Recovery, "extensions::flare_recovery")
	require.Empty(t, recovery["problems"])
	require.Positive(t, recovery["recovered"][0]["items"])
	require.Equal(t, stack.Principal, recovery["agents that flare"][0]["agent"])
	require.Equal(t, "expired", recovery["agents that flare"][0]["last_reason"])
	outbreak := recovery["outbreaks"][0]
	require.Equal(t, "refused", outbreak["cause"])
	require.Equal(t, []any{1., 1.}, []any{outbreak["agents"], outbreak["of"]})
	require.Equal(t, stack.Principal, recovery["last drills, the oldest first"][0]["agent"])
	waitKafka(ctx, t, s, &l)
}
