package lifelineexporter

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/testdata"
)

// The Collector stops exporters one by one, in any order.
func TestTheLastSignalDrains(t *testing.T) {
	g := newGateway(t, unavailable)
	a := newAgent(t, g.URL).start()
	require.NoError(t, a.traces.ConsumeTraces(t.Context(), testdata.GenerateTraces(2)))
	require.NoError(t, a.traces.Shutdown(t.Context()))
	require.Error(t, a.traces.ConsumeTraces(t.Context(), testdata.GenerateTraces(2)), "its intake is closed")
	require.NoError(t, a.logs.ConsumeLogs(t.Context(), testdata.GenerateLogs(3)), "the others run on")
	require.EqualValues(t, 2, a.scrape()["lifeline_held_items{signal=traces}"], "nothing is given up before the last")
	g.say(ack)
	a.shutdown() // traces for the second time
	s := a.scrape()
	require.EqualValues(t, 2, s["lifeline_delivered_items{signal=traces}"], "%v", s)
	require.EqualValues(t, 3, s["lifeline_delivered_items{signal=logs}"])
	err := a.logs.ConsumeLogs(t.Context(), testdata.GenerateLogs(3))
	require.Error(t, err)
	require.False(t, consumererror.IsPermanent(err), "a receiver that can wait may try again")
}

func TestShutdownIsBoundedWithoutGatewayAndCountsTheLoss(t *testing.T) {
	over := make(chan struct{})
	g := newGateway(t, func(http.ResponseWriter, *http.Request) { <-over })
	defer close(over)
	a := newAgent(t, g.URL, func(cfg *Config) {
		cfg.ShutdownTimeout, cfg.Timeout = time.Second, time.Hour // without its bound it would take the hour
	}).start()
	require.NoError(t, a.logs.ConsumeLogs(t.Context(), testdata.GenerateLogs(5)))
	a.each(func(c component.Component) { _ = c.Shutdown(context.Background()) })
	s := a.scrape()
	require.EqualValues(t, 5, s["lifeline_lost_items{reason=shutdown,signal=logs}"], "%v", s)
	require.EqualValues(t, 5, s.conserves(t, "logs"))
	require.Len(t, a.log.FilterMessageSnippet("lost for good").All(), 1)
}

// The same configuration can live again: the generated tests, and a reload in
// one process, do that.
func TestACoreCanBeMadeAgain(t *testing.T) {
	g := newGateway(t, ack)
	a := newAgent(t, g.URL)
	a.shutdown() // without a start
	for range 2 {
		a.create()
		first := a.core()
		require.Same(t, first, a.traces.(*signalExporter).core, "the signals share one core")
		a.each(func(c component.Component) { require.NoError(t, c.Start(t.Context(), a.host)) })
		require.NoError(t, a.logs.ConsumeLogs(t.Context(), testdata.GenerateLogs(1)))
		a.shutdown()
		<-g.seen
	}
	other := *a.cfg
	logs, err := a.factory.CreateLogs(t.Context(), a.set, &other)
	require.NoError(t, err)
	a.create()
	require.NotSame(t, a.core(), logs.(*signalExporter).core, "another id has its own ring")
	require.NoError(t, logs.Shutdown(t.Context()))
	a.shutdown()
}

func TestABrokenClientConfigurationFailsTheStart(t *testing.T) {
	a := newAgent(t, "http://127.0.0.1:9", func(cfg *Config) {
		httpCfg := *cfg.HTTP.Get()
		httpCfg.TLS.CAFile = "testdata/missing.pem"
		cfg.HTTP = configoptional.Some(httpCfg)
	})
	require.ErrorContains(t, a.logs.Start(t.Context(), a.host), "make the client of http")
	require.Error(t, a.logs.ConsumeLogs(t.Context(), testdata.GenerateLogs(1)))
	a.shutdown()
}
