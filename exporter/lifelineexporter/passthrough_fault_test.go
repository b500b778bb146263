package lifelineexporter

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/testdata"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/batchprocessor"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/otel-lifeline/lifeline/internal/bytesize"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/receiver/lifelinereceiver"
)

// requireRefused sends raw by both protocols and asserts that both answer code.
func requireRefused(t *testing.T, d *door, raw []byte, code codes.Code, httpCode int) {
	t.Helper()
	err := d.call(t, frame.Logs, "", raw)
	require.Equal(t, code, status.Code(err), "%v", err)
	resp := d.post(t, frame.Logs, protobuf, "", raw)
	require.Equal(t, httpCode, resp.StatusCode)
	retry := false
	for _, detail := range status.Convert(err).Details() {
		_, ok := detail.(*errdetails.RetryInfo)
		retry = retry || ok
	}
	require.Equal(t, code == codes.Unavailable, retry)
	require.Equal(t, code == codes.Unavailable, resp.Header.Get("Retry-After") != "")
}

// A ring that refuses pushes back on programs with an answer that makes them keep
// their data.
func TestAFullRingPushesBackOnPrograms(t *testing.T) {
	g := newGateway(t, unavailable)
	a := newAgent(t, g.URL, func(cfg *Config) {
		cfg.Ring.Capacity, cfg.Ring.WhenFull = bytesize.MiB, refuse
		cfg.Frame.MaxSize = 64 * bytesize.KiB
	}).start()
	host := openDoor(t, a.logs, lent)
	raw, _ := requestsOf(t, 300)
	taken := 0
	for host.post(t, frame.Logs, protobuf, "", raw[frame.Logs]).StatusCode == http.StatusOK {
		taken++
	}
	require.Positive(t, taken)
	requireRefused(t, host, raw[frame.Logs], codes.Unavailable, http.StatusServiceUnavailable)
	require.EqualValues(t, 300*taken, a.scrape().conserves(t, "logs"), "a refused request is not accepted")
	g.say(ack)
	host.stop()
	a.shutdown()
	require.EqualValues(t, 300*taken, a.scrape()["lifeline_delivered_items{signal=logs}"], "and nothing but that")
}

// What cannot be sent tomorrow either is refused for good, and takes nothing
// else along.
func TestRequestsThatAreRefusedForGood(t *testing.T) {
	k := &topics{}
	a := newAgent(t, "http://"+openDoor(t, k).http, func(cfg *Config) {
		cfg.MetadataKeys = []string{"X-Tenant"}
		cfg.Ring.Capacity, cfg.Frame.MaxSize = bytesize.MiB, 64*bytesize.KiB
	}).start()
	host := openDoor(t, a.logs, lent, func(cfg *lifelinereceiver.Config) { cfg.MetadataKeys = []string{"x-tenant"} })
	raw, _ := requestsOf(t, 1)
	large := testdata.GenerateLogs(1)
	large.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Body().SetStr(strings.Repeat("x", 256<<10))
	tooLarge, err := plogotlp.NewExportRequestFromLogs(large).MarshalProto()
	require.NoError(t, err)
	requireRefused(t, host, tooLarge, codes.ResourceExhausted, http.StatusRequestEntityTooLarge)

	long := metadata.AppendToOutgoingContext(t.Context(), "x-tenant", strings.Repeat("x", maxMetadata))
	err = host.callAs(long, t, frame.Logs, raw[frame.Logs])
	require.Equal(t, codes.InvalidArgument, status.Code(err), "%v", err)
	require.ErrorContains(t, err, "client metadata x-tenant cannot be sent as a header")

	require.NoError(t, host.callAs(metadata.AppendToOutgoingContext(t.Context(), "x-tenant", "acme"), t, frame.Logs, raw[frame.Logs]))
	require.NoError(t, host.callAs(metadata.AppendToOutgoingContext(t.Context(), "x-tenant", "initech"), t, frame.Logs, raw[frame.Logs]))
	host.stop()
	a.shutdown()
	require.Len(t, k.records[topicOf[frame.Logs]], 2, "tenants are never mixed")
	require.EqualValues(t, 2, a.scrape().conserves(t, "logs"))
}

// An exporter that has stopped takes nothing, and says so in a way that makes
// programs keep their data.
func TestAStoppedExporterBehindAReceiver(t *testing.T) {
	k := &topics{}
	a := newAgent(t, "http://"+openDoor(t, k).http).start()
	host := openDoor(t, a.logs, lent)
	a.shutdown()
	raw, _ := requestsOf(t, 1)
	requireRefused(t, host, raw[frame.Logs], codes.Unavailable, http.StatusServiceUnavailable)
	require.Zero(t, a.scrape().conserves(t, "logs"))
	require.Empty(t, k.records)
}

// batches puts the Collector's batch processor before next.
func batches(t *testing.T, next consumer.Logs) (consumer.Logs, func()) {
	factory := batchprocessor.NewFactory()
	cfg := factory.CreateDefaultConfig().(*batchprocessor.Config)
	cfg.SendBatchSize, cfg.Timeout = 1, time.Millisecond
	set := processor.Settings{ID: component.NewID(factory.Type()), TelemetrySettings: componenttest.NewNopTelemetrySettings()}
	p, err := factory.CreateLogs(t.Context(), set, cfg, next)
	require.NoError(t, err)
	require.NoError(t, p.Start(t.Context(), componenttest.NewNopHost()))
	return p, func() { require.NoError(t, p.Shutdown(context.Background())) }
}

// Whatever stands between parts the envelope from its bytes: the program is told
// to keep its data, the operator what to remove, and nothing is delivered that
// looks like a log record of the program.
func TestWhatStandsBetweenLosesNothing(t *testing.T) {
	for name, between := range map[string]func(*testing.T, consumer.Logs) (consumer.Logs, func()){
		"a batch processor": batches,
		"another exporter": func(t *testing.T, _ consumer.Logs) (consumer.Logs, func()) {
			swallow, err := consumer.NewLogs(func(context.Context, plog.Logs) error { return nil })
			require.NoError(t, err)
			return swallow, func() {}
		},
		"a processor that answers in time and forgets the context": func(t *testing.T, next consumer.Logs) (consumer.Logs, func()) {
			forget, err := consumer.NewLogs(func(_ context.Context, ld plog.Logs) error { return next.ConsumeLogs(t.Context(), ld) }) //nolint:contextcheck // the fault of this test
			require.NoError(t, err)
			return forget, func() {}
		},
		"a processor that makes something else of it": func(t *testing.T, next consumer.Logs) (consumer.Logs, func()) {
			change, err := consumer.NewLogs(func(ctx context.Context, _ plog.Logs) error { return next.ConsumeLogs(ctx, testdata.GenerateLogs(1)) })
			require.NoError(t, err)
			return change, func() {}
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := &topics{}
			a := newAgent(t, "http://"+openDoor(t, k).http).start()
			next, end := between(t, a.logs)
			host := openDoor(t, next, lent)
			raw, _ := requestsOf(t, 3)
			requireRefused(t, host, raw[frame.Logs], codes.Unavailable, http.StatusServiceUnavailable)
			host.stop()
			end() // what the processor holds reaches the exporter now
			a.shutdown()
			require.Zero(t, a.scrape().conserves(t, "logs"))
			require.Empty(t, k.records)
			lines := host.log.FilterMessageSnippet("The lifeline exporter did not get").All()
			require.Len(t, lines, 2)
			require.Contains(t, lines[0].ContextMap()["error"], "something stands between the lifeline receiver in passthrough and the lifeline exporter")
		})
	}
}

// A log record of a program that looks like an envelope, or like a record of a
// gateway, is a log record, on either way into the agent.
func TestALookalikeIsALogRecord(t *testing.T) {
	k := &topics{}
	a := newAgent(t, "http://"+openDoor(t, k).http).start()
	host := openDoor(t, a.logs, lent)
	raw, _ := requestsOf(t, 5)
	ld := plog.NewLogs()
	sl := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty()
	sl.Scope().SetName("lifeline/passthrough/0123456789abcdef0123456789abcdef")
	sl.LogRecords().AppendEmpty().Body().SetEmptyBytes().FromRaw(raw[frame.Traces])
	want, err := plogotlp.NewExportRequestFromLogs(ld).MarshalProto()
	require.NoError(t, err)
	require.NoError(t, a.logs.ConsumeLogs(t.Context(), ld), "as the otlp receiver brings it")
	require.NoError(t, host.call(t, frame.Logs, "", want))
	host.stop()
	a.shutdown()
	require.Equal(t, map[string][][]byte{topicOf[frame.Logs]: {want, want}}, k.records)
}
