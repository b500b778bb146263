package lifelineexporter

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/testdata"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/otel-lifeline/lifeline/internal/bytesize"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/nettest"
)

// sinks is where a stock receiver puts what it got.
type sinks struct {
	traces  consumertest.TracesSink
	metrics consumertest.MetricsSink
	logs    consumertest.LogsSink
}

// stock starts a stock otlp receiver of all signals and returns its URL.
func stock(t *testing.T) (string, *sinks) {
	addr := nettest.Reserve(t)
	factory := otlpreceiver.NewFactory()
	cfg := factory.CreateDefaultConfig().(*otlpreceiver.Config)
	cfg.Protocols.HTTP.GetOrInsertDefault().ServerConfig.NetAddr.Endpoint = addr
	set := receivertest.NewNopSettings(factory.Type())
	got := &sinks{}
	tr, err := factory.CreateTraces(t.Context(), set, cfg, &got.traces)
	require.NoError(t, err)
	mr, err := factory.CreateMetrics(t.Context(), set, cfg, &got.metrics)
	require.NoError(t, err)
	lr, err := factory.CreateLogs(t.Context(), set, cfg, &got.logs)
	require.NoError(t, err)
	for _, r := range []component.Component{tr, mr, lr} {
		require.NoError(t, r.Start(t.Context(), componenttest.NewNopHost()))
		t.Cleanup(func() { require.NoError(t, r.Shutdown(context.Background())) })
	}
	return "http://" + addr, got
}

// Every item arrives, as it was, at a receiver that knows nothing of Lifeline:
// joined or not, and split when it is too large for one frame.
func TestAStockReceiverGetsWhatWasAccepted(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"a frame per call": func(*Config) {},
		"joined":           func(cfg *Config) { cfg.Frame.Linger = time.Hour },
		"newest first":     func(cfg *Config) { cfg.Order = newestFirst },
	} {
		t.Run(name, func(t *testing.T) {
			url, got := stock(t)
			a := newAgent(t, url, change, oneConnectionPerRequest).start()
			for range 3 {
				require.NoError(t, a.traces.ConsumeTraces(t.Context(), testdata.GenerateTraces(7)))
				require.NoError(t, a.metrics.ConsumeMetrics(t.Context(), testdata.GenerateMetricsAllTypes()))
				require.NoError(t, a.logs.ConsumeLogs(t.Context(), testdata.GenerateLogs(7)))
			}
			a.shutdown()
			s := a.scrape()
			require.EqualValues(t, 21, s["lifeline_delivered_items{signal=traces}"], "%v", s)
			require.Equal(t, s.conserves(t, "metrics"), s["lifeline_delivered_items{signal=metrics}"])
			require.EqualValues(t, 21, s["lifeline_delivered_items{signal=logs}"])
			require.EqualValues(t, 21, s["exporter_sent_spans"], "the Collector's own counter counts acks")
			require.Equal(t, s["lifeline_delivered_items{signal=metrics}"], s["exporter_sent_metric_points"])
			require.EqualValues(t, 21, s["exporter_sent_log_records"])
			require.Zero(t, s["exporter_send_failed_spans"])

			gotTraces, wantTraces := ptrace.NewTraces(), ptrace.NewTraces()
			for _, td := range got.traces.AllTraces() {
				td.ResourceSpans().MoveAndAppendTo(gotTraces.ResourceSpans())
			}
			gotMetrics, wantMetrics := pmetric.NewMetrics(), pmetric.NewMetrics()
			for _, md := range got.metrics.AllMetrics() {
				md.ResourceMetrics().MoveAndAppendTo(gotMetrics.ResourceMetrics())
			}
			gotLogs, wantLogs := plog.NewLogs(), plog.NewLogs()
			for _, ld := range got.logs.AllLogs() {
				ld.ResourceLogs().MoveAndAppendTo(gotLogs.ResourceLogs())
			}
			for range 3 {
				testdata.GenerateTraces(7).ResourceSpans().MoveAndAppendTo(wantTraces.ResourceSpans())
				testdata.GenerateMetricsAllTypes().ResourceMetrics().MoveAndAppendTo(wantMetrics.ResourceMetrics())
				testdata.GenerateLogs(7).ResourceLogs().MoveAndAppendTo(wantLogs.ResourceLogs())
			}
			require.Equal(t, wantTraces, gotTraces)
			require.Equal(t, wantMetrics, gotMetrics)
			require.Equal(t, wantLogs, gotLogs)
		})
	}
}

// oneConnectionPerRequest leaves no idle connection behind: the stock receiver
// waits seconds for those at its shutdown.
func oneConnectionPerRequest(cfg *Config) {
	httpCfg := *cfg.HTTP.Get()
	httpCfg.DisableKeepAlives = true
	cfg.HTTP = configoptional.Some(httpCfg)
}

func TestACallLargerThanAFrameIsSplit(t *testing.T) {
	url, got := stock(t)
	a := newAgent(t, url, oneConnectionPerRequest, func(cfg *Config) { cfg.Frame.MaxSize = 4 * bytesize.KiB }).start()
	require.NoError(t, a.logs.ConsumeLogs(t.Context(), testdata.GenerateLogs(500)))
	a.shutdown()
	require.Equal(t, 500, got.logs.LogRecordCount())
	require.Greater(t, len(got.logs.AllLogs()), 5)
	require.EqualValues(t, 500, a.scrape()["lifeline_delivered_items{signal=logs}"])
}

// The name was not paid for: somebody else answers, politely. Nothing is
// delivered, everything is held, and the operator knows why.
func TestA200WithHTMLKeepsData(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"parked":   parked,
		"redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) },
		"500":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"400 page": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, answer)
			a := newAgent(t, g.URL).start()
			require.NoError(t, a.logs.ConsumeLogs(t.Context(), testdata.GenerateLogs(5)))
			<-g.seen
			<-g.seen // it is tried again
			event := a.host.next()
			require.Equal(t, componentstatus.StatusRecoverableError, event.Status())
			require.ErrorContains(t, event.Err(), "the gateway does not take data")
			s := a.scrape()
			require.EqualValues(t, 5, s["lifeline_held_items{signal=logs}"], "%v", s)
			require.EqualValues(t, 5, s.conserves(t, "logs"))
			require.Zero(t, s["exporter_sent_log_records"])

			g.say(ack)
			require.Equal(t, componentstatus.StatusOK, a.host.next().Status())
			a.shutdown()
			s = a.scrape()
			require.EqualValues(t, 5, s["lifeline_delivered_items{signal=logs}"], "%v", s)
			require.EqualValues(t, 5, s["exporter_sent_log_records"])
			require.Len(t, a.log.FilterMessageSnippet("does not take data").All(), 1, "one line per change of state")
			require.Len(t, a.log.FilterMessageSnippet("takes data.").All(), 1)
		})
	}
}

// G1: whatever happens, in every scrape the items add up.
func TestItemsAddUpInEveryScrape(t *testing.T) {
	var n atomic.Int64
	g := newGateway(t, func(w http.ResponseWriter, r *http.Request) {
		switch n.Add(1) % 20 {
		case 0:
			parked(w, r)
		case 5:
			unavailable(w, r)
		case 10, 11, 12, 13, 14, 15:
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		default:
			ack(w, r)
		}
	})
	a := newAgent(t, g.URL, func(cfg *Config) { cfg.Ring.Capacity = 3 * bytesize.MiB }).start()
	var accepted atomic.Int64
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for i := range 200 {
				if a.logs.ConsumeLogs(context.Background(), testdata.GenerateLogs(1+i%9)) == nil {
					accepted.Add(int64(1 + i%9))
				}
				_ = a.traces.ConsumeTraces(context.Background(), testdata.GenerateTraces(3))
			}
		})
	}
	for range 200 {
		s := a.scrape()
		for _, signal := range []string{"traces", "metrics", "logs"} {
			s.conserves(t, signal)
		}
	}
	wg.Wait()
	for n.Load() < 500 {
		<-g.seen
	}
	a.shutdown()
	s := a.scrape()
	require.Equal(t, accepted.Load(), s.conserves(t, "logs"))
	require.Zero(t, s["lifeline_held_items{signal=logs}"], "after the shutdown every fate is known")
	require.Equal(t, s["lifeline_delivered_items{signal=logs}"], s["exporter_sent_log_records"])
	require.Positive(t, s["lifeline_delivered_items{signal=logs}"])
	require.Positive(t, s["lifeline_rejected_items{signal=logs}"], "413 for a single item")
}

func TestMetadataTravelsAsHeadersAndIsNeverMixed(t *testing.T) {
	g := newGateway(t, ack)
	a := newAgent(t, g.URL, func(cfg *Config) {
		cfg.MetadataKeys = []string{"X-Tenant"}
		cfg.Frame.Linger = time.Hour
		cfg.Audience = "acme-prod"
	}).start()
	as := func(tenant string) context.Context {
		return client.NewContext(t.Context(), client.Info{Metadata: client.NewMetadata(map[string][]string{"x-tenant": {tenant}, "authorization": {"secret"}})})
	}
	for range 2 {
		require.NoError(t, a.logs.ConsumeLogs(as("a"), testdata.GenerateLogs(1)))
		require.NoError(t, a.logs.ConsumeLogs(as("b"), testdata.GenerateLogs(1)))
		require.NoError(t, a.logs.ConsumeLogs(t.Context(), testdata.GenerateLogs(1)))
	}
	for _, bad := range []string{"line\nbreak", strings.Repeat("x", 8<<10)} {
		err := a.logs.ConsumeLogs(as(bad), testdata.GenerateLogs(1))
		require.True(t, consumererror.IsPermanent(err))
		require.ErrorContains(t, err, "metadata_keys")
	}
	a.shutdown()
	tenants := map[string]int64{}
	for range 3 {
		header := <-g.seen
		require.Empty(t, header.Get("Authorization"))
		require.Equal(t, "acme-prod", header.Get(frame.HeaderAudience))
		h, err := frame.ParseHeader(header.Get(frame.HeaderFrame))
		require.NoError(t, err)
		require.Equal(t, "acme/host-17", h.Agent)
		_, ok := frame.ParseBatchID(header.Get(frame.HeaderBatchID))
		require.True(t, ok)
		tenants[header.Get("X-Tenant")] += h.Items
	}
	require.Equal(t, map[string]int64{"a": 2, "b": 2, "": 2}, tenants)
	require.Empty(t, g.seen)
}

func TestEmptyAndHugeCalls(t *testing.T) {
	g := newGateway(t, ack)
	a := newAgent(t, g.URL, func(cfg *Config) { cfg.Ring.Capacity, cfg.Frame.MaxSize = bytesize.MiB, 64*bytesize.KiB }).start()
	require.NoError(t, a.traces.ConsumeTraces(t.Context(), ptrace.NewTraces()))
	require.NoError(t, a.metrics.ConsumeMetrics(t.Context(), testdata.GenerateMetrics(0)))
	require.NoError(t, a.logs.ConsumeLogs(t.Context(), plog.NewLogs()))
	huge := testdata.GenerateLogs(1)
	huge.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Body().SetStr(string(make([]byte, 2<<20)))
	err := a.logs.ConsumeLogs(t.Context(), huge)
	require.True(t, consumererror.IsPermanent(err), "trying again cannot help: %v", err)
	a.shutdown()
	require.Empty(t, g.seen)
	require.Zero(t, a.scrape().conserves(t, "logs"))
}

// A gateway that dies in the middle and comes back somewhere in time.
func TestAGatewayThatComesBack(t *testing.T) {
	addr := nettest.Reserve(t)
	open := func() *httptest.Server {
		listener, err := net.Listen("tcp", addr)
		require.NoError(t, err)
		s := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(ack), ReadHeaderTimeout: time.Minute}}
		s.Start()
		return s
	}
	first := open()
	a := newAgent(t, "http://"+addr).start()
	require.NoError(t, a.logs.ConsumeLogs(t.Context(), testdata.GenerateLogs(1)))
	first.Close() // when it has answered, if it was asked
	for i := range 10 {
		require.NoError(t, a.logs.ConsumeLogs(t.Context(), testdata.GenerateLogs(1+i)))
	}
	event := a.host.next()
	require.Equal(t, componentstatus.StatusRecoverableError, event.Status())
	require.ErrorContains(t, event.Err(), "refused")
	defer open().Close()
	require.Equal(t, componentstatus.StatusOK, a.host.next().Status())
	a.shutdown()
	s := a.scrape()
	require.EqualValues(t, 56, s["lifeline_delivered_items{signal=logs}"], fmt.Sprint(s))
}
