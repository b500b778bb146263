package lifelinereceiver

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"google.golang.org/grpc/codes"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/inflight"
	"github.com/otel-lifeline/lifeline/internal/status/statustest"
	"github.com/otel-lifeline/lifeline/receiver/lifelinereceiver/internal/metadata"
)

// gauge returns the sum of a gauge's points.
func gauge(t *testing.T, tel *componenttest.Telemetry, name string) (sum float64) {
	t.Helper()
	m, err := tel.GetMetric(name)
	require.NoError(t, err)
	switch data := m.Data.(type) {
	case metricdata.Gauge[int64]:
		for _, p := range data.DataPoints {
			sum += float64(p.Value)
		}
	case metricdata.Gauge[float64]:
		for _, p := range data.DataPoints {
			sum += p.Value
		}
	case metricdata.Sum[int64]:
		for _, p := range data.DataPoints {
			sum += float64(p.Value)
		}
	}
	return sum
}

func TestEveryRequestIsVisible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := componenttest.NewTelemetry()
		set := receivertest.NewNopSettings(metadata.Type)
		set.TelemetrySettings = tel.NewTelemetrySettings()
		k, started, finish := slowKafka()
		rcv, err := NewFactory().CreateLogs(t.Context(), set, testConfig(), k)
		require.NoError(t, err)
		g := rcv.(*shared).gateway

		ctx := client.NewContext(t.Context(), client.Info{Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 7), Port: 4711}})
		raw := encoded(t, frame.Traces, 3)
		answers := make(chan *refusal, 2)
		own := map[string]string{frame.HeaderBatchID: rootID, frame.HeaderFrame: header}
		background(t, func() { answers <- ask(ctx, g, raw, own, nil) })
		<-started
		time.Sleep(2 * time.Second)
		background(t, func() { answers <- ask(ctx, g, raw, own, nil) }) // joins
		synctest.Wait()
		held, err := g.admission.acquire(t.Context(), g.admission.room())
		require.NoError(t, err)
		background(t, func() { _ = ask(ctx, g, raw, nil, nil) }) // finds no room
		synctest.Wait()

		request := inflight.Request{Peer: "10.0.0.7:4711", Agent: "acme/host-17", Signal: frame.Traces, Stage: inflight.Writing}
		first, second, third := request, request, request
		first.Age, first.Bytes = 2*time.Second, copies*int64(len(raw))
		third.Stage, third.Agent = inflight.Waiting, ""
		require.Equal(t, []inflight.Request{first, second, third}, g.inflight.Snapshot())
		require.InDelta(t, 3, gauge(t, tel, "otelcol_lifeline_inflight_requests"), 0)
		require.InDelta(t, copies*len(raw), gauge(t, tel, "otelcol_lifeline_inflight_bytes"), 0)
		require.InDelta(t, 2, gauge(t, tel, "otelcol_lifeline_inflight_oldest_age"), 0)
		require.InDelta(t, 2, gauge(t, tel, "otelcol_lifeline_oldest_write_age"), 0)
		require.InDelta(t, 1, gauge(t, tel, "otelcol_lifeline_resends"), 0)

		seen := statustest.Show(t, g.tables())
		require.Equal(t, []map[string]any{{
			"in_flight": 3., "bytes": float64(copies * len(raw)), "of_at_most": float64(256 << 20), "oldest": 2., "oldest_write": 2., "window_for_recovery": nil,
		}}, seen["requests"])
		require.Equal(t, map[string]any{
			"age": 2., "stage": "writing", "signal": "traces", "bytes": float64(copies * len(raw)), "agent": "acme/host-17", "peer": "10.0.0.7:4711",
		}, seen["requests in flight"][0])
		require.Nil(t, seen["requests in flight"][2]["agent"])

		held.release()
		<-started
		finish <- nil
		finish <- nil
		require.Nil(t, <-answers)
		require.Nil(t, <-answers)
		synctest.Wait()
		require.Empty(t, g.inflight.Snapshot())
		require.NoError(t, rcv.Shutdown(t.Context()))
		require.NoError(t, tel.Shutdown(context.Background()))
	})
}

// TestOnTheStatusPage: a gateway is on the page while it runs, and while it drains.
func TestOnTheStatusPage(t *testing.T) {
	var page statustest.Page
	cfg := testConfig()
	cfg.TrustFlareHeaders = true
	set := receivertest.NewNopSettings(metadata.Type)
	rcv, err := NewFactory().CreateLogs(t.Context(), set, cfg, new(consumertest.LogsSink))
	require.NoError(t, err)
	require.NoError(t, rcv.Start(t.Context(), &page))
	require.Equal(t, []string{set.ID.String()}, page.Sources())
	seen := page.Show(t)
	require.NotNil(t, seen["requests"][0]["window_for_recovery"])
	require.Empty(t, seen["requests in flight"])
	require.NoError(t, rcv.Shutdown(t.Context()))
	require.Empty(t, page.Sources())
}

// statusHost remembers what was reported.
type statusHost struct {
	component.Host
	mu     sync.Mutex
	events []*componentstatus.Event
}

func (h *statusHost) Report(e *componentstatus.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
}

func (h *statusHost) all() (statuses []componentstatus.Status) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		statuses = append(statuses, e.Status())
	}
	return statuses
}

func TestNotReadyWhileAWriteHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, started, finish := slowKafka()
		g := bubble(t, k)
		host := &statusHost{Host: componenttest.NewNopHost()}
		g.health.troubles.Attach(host)
		g.health.start(g.workers.closing)
		raw := encoded(t, frame.Traces, 3)
		background(t, func() { _ = ask(t.Context(), g, raw, nil, nil) })
		<-started
		time.Sleep(g.cfg.AckTimeout)
		synctest.Wait()
		require.Empty(t, host.all(), "slow is not stuck")
		time.Sleep(g.cfg.AckTimeout / 4)
		synctest.Wait()
		require.Equal(t, []componentstatus.Status{componentstatus.StatusRecoverableError}, host.all())
		require.ErrorContains(t, host.events[0].Err(), "longer than ack_timeout")
		problems := statustest.Show(t, g.tables())["problems"]
		require.Equal(t, []map[string]any{{"of": "writes", "problem": host.events[0].Err().Error()}}, problems)
		time.Sleep(time.Hour)
		require.Len(t, host.all(), 1, "said once")
		finish <- nil
		time.Sleep(g.cfg.AckTimeout / 4)
		synctest.Wait()
		require.Equal(t, componentstatus.StatusOK, host.all()[1])
		require.Empty(t, statustest.Show(t, g.tables())["problems"])
	})
}

// The Collector has a receiver for every signal, each with a status of its own.
func TestEverySignalIsNotReady(t *testing.T) {
	set, cfg := receivertest.NewNopSettings(metadata.Type), testConfig(func(c *Config) { c.Passthrough.Enabled = false })
	logs, err := NewFactory().CreateLogs(t.Context(), set, cfg, consumertest.NewNop())
	require.NoError(t, err)
	traces, err := NewFactory().CreateTraces(t.Context(), set, cfg, consumertest.NewNop())
	require.NoError(t, err)
	first, second := &statusHost{Host: componenttest.NewNopHost()}, &statusHost{Host: componenttest.NewNopHost()}
	require.NoError(t, logs.Start(t.Context(), first))
	require.NoError(t, traces.Start(t.Context(), second))
	logs.(*shared).gateway.health.explain(frame.Logs, kerr.UnknownTopicID)
	require.Equal(t, []componentstatus.Status{componentstatus.StatusPermanentError}, first.all())
	require.Equal(t, first.all(), second.all())
	require.NoError(t, logs.Shutdown(t.Context()))
	require.NoError(t, traces.Shutdown(t.Context()))
}

func TestRecreatedTopicIsAPermanentError(t *testing.T) {
	for _, protocol := range protocols {
		k := &kafka{script: func(context.Context, int) error { return kerr.UnknownTopicID }}
		g := startPassthrough(t, k)
		host := &statusHost{Host: componenttest.NewNopHost()}
		g.health.troubles.Attach(host)
		requireUnavailable(t, send(t.Context(), g, protocol, encoded(t, frame.Traces, 1)))
		require.Len(t, k.all(), 1, "the fault was met")
		require.Equal(t, []componentstatus.Status{componentstatus.StatusPermanentError}, host.all())
		require.Equal(t, codes.Unavailable, send(t.Context(), g, protocol, encoded(t, frame.Traces, 1)).status.Code())
	}
}
