package lifelinereceiver

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/kafka/topic"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configcompression"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/exporter/otlpexporter"
	"go.opentelemetry.io/collector/exporter/otlphttpexporter"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.opentelemetry.io/collector/pdata/testdata"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/receiver/lifelinereceiver/internal/metadata"
)

// written is one record as an exporter behind the receiver sees it.
type written struct {
	topic string
	info  client.Info
	raw   []byte
}

// kafka is the consumer behind a passthrough receiver: it keeps what it gets
// and does what its script says.
type kafka struct {
	mu      sync.Mutex
	records []written
	script  func(ctx context.Context, n int) error // n: the number of the call, from 1; nil: success
}

func (k *kafka) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

func (k *kafka) ConsumeLogs(ctx context.Context, ld plog.Logs) error {
	w := written{info: client.FromContext(ctx)}
	w.topic, _ = topic.FromContext(ctx)
	w.raw = ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Body().Bytes().AsRaw()
	k.mu.Lock()
	k.records = append(k.records, w)
	n, script := len(k.records), k.script
	k.mu.Unlock()
	if script == nil {
		return nil
	}
	return script(ctx, n)
}

func (k *kafka) all() []written {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]written(nil), k.records...)
}

// testConfig listens on free ports of both protocols.
func testConfig(change ...func(*Config)) *Config {
	cfg := createDefaultConfig().(*Config)
	cfg.Protocols.GRPC.GetOrInsertDefault().NetAddr.Endpoint = "127.0.0.1:0"
	cfg.Protocols.HTTP.GetOrInsertDefault().NetAddr.Endpoint = "127.0.0.1:0"
	for _, c := range change {
		c(cfg)
	}
	return cfg
}

// startPassthrough runs a passthrough receiver in front of next.
func startPassthrough(t testing.TB, next consumer.Logs, change ...func(*Config)) *gateway {
	t.Helper()
	cfg := testConfig(change...)
	require.NoError(t, cfg.Validate())
	r, err := NewFactory().CreateLogs(t.Context(), receivertest.NewNopSettings(metadata.Type), cfg, next)
	require.NoError(t, err)
	return startReceiver(t, r)
}

func startReceiver(t testing.TB, r component.Component) *gateway {
	t.Helper()
	require.NoError(t, r.Start(t.Context(), componenttest.NewNopHost()))
	t.Cleanup(func() { require.NoError(t, r.Shutdown(context.Background())) })
	return r.(*shared).gateway
}

// stock returns the Collector's own exporter for a protocol and compression,
// without queue and retry, so that its answers are the caller's.
func stock(t *testing.T, g *gateway, protocol, compression string, headers ...string) (exporter.Factory, component.Config) {
	t.Helper()
	if protocol == "grpc" {
		f := otlpexporter.NewFactory()
		cfg := f.CreateDefaultConfig().(*otlpexporter.Config)
		cfg.ClientConfig.Endpoint = g.grpc.addr.String()
		cfg.ClientConfig.TLS.Insecure = true
		cfg.ClientConfig.Compression = configcompression.Type(compression)
		for pair := range slices.Chunk(headers, 2) {
			cfg.ClientConfig.Headers.Set(pair[0], configopaque.String(pair[1]))
		}
		cfg.QueueConfig = configoptional.None[exporterhelper.QueueBatchConfig]()
		cfg.RetryConfig.Enabled = false
		return f, cfg
	}
	f := otlphttpexporter.NewFactory()
	cfg := f.CreateDefaultConfig().(*otlphttpexporter.Config)
	cfg.ClientConfig.Endpoint = "http://" + g.http.addr.String()
	cfg.ClientConfig.Compression = configcompression.Type(compression)
	for pair := range slices.Chunk(headers, 2) {
		cfg.ClientConfig.Headers.Set(pair[0], configopaque.String(pair[1]))
	}
	cfg.QueueConfig = configoptional.None[exporterhelper.QueueBatchConfig]()
	cfg.RetryConfig.Enabled = false
	if protocol == "json" {
		cfg.Encoding = otlphttpexporter.EncodingJSON
	}
	return f, cfg
}

// send exports one batch of n items of every signal with a stock exporter.
func sendAll(t *testing.T, f exporter.Factory, cfg component.Config, n int) error {
	t.Helper()
	set := exportertest.NewNopSettings(f.Type())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	traces, err := f.CreateTraces(ctx, set, cfg)
	require.NoError(t, err)
	metrics, err := f.CreateMetrics(ctx, set, cfg)
	require.NoError(t, err)
	logs, err := f.CreateLogs(ctx, set, cfg)
	require.NoError(t, err)
	for _, c := range []component.Component{traces, metrics, logs} {
		require.NoError(t, c.Start(ctx, componenttest.NewNopHost()))
		defer func() { require.NoError(t, c.Shutdown(context.Background())) }()
	}
	if err := traces.ConsumeTraces(ctx, testdata.GenerateTraces(n)); err != nil {
		return err
	}
	if err := metrics.ConsumeMetrics(ctx, testdata.GenerateMetrics(n)); err != nil {
		return err
	}
	return logs.ConsumeLogs(ctx, testdata.GenerateLogs(n))
}

// encoded returns what a stock exporter sends for n items.
func encoded(t testing.TB, s frame.Signal, n int) []byte {
	t.Helper()
	var raw []byte
	var err error
	switch s {
	case frame.Traces:
		raw, err = ptraceotlp.NewExportRequestFromTraces(testdata.GenerateTraces(n)).MarshalProto()
	case frame.Metrics:
		raw, err = pmetricotlp.NewExportRequestFromMetrics(testdata.GenerateMetrics(n)).MarshalProto()
	default:
		raw, err = plogotlp.NewExportRequestFromLogs(testdata.GenerateLogs(n)).MarshalProto()
	}
	require.NoError(t, err)
	return raw
}

var ways = []struct{ protocol, compression string }{
	{"grpc", "none"},
	{"grpc", "gzip"},
	{"grpc", "zstd"},
	{"grpc", "snappy"},
	{"http", "none"},
	{"http", "gzip"},
	{"http", "zstd"},
	{"http", "snappy"},
	{"http", "deflate"},
	{"http", "lz4"},
	{"http", "x-snappy-framed"},
	{"json", "none"},
	{"json", "gzip"},
}

func TestPassthroughOfStockExporters(t *testing.T) {
	for _, way := range ways {
		t.Run(way.protocol+" "+way.compression, func(t *testing.T) {
			k := &kafka{}
			g := startPassthrough(t, k)
			f, cfg := stock(t, g, way.protocol, way.compression)
			require.NoError(t, sendAll(t, f, cfg, 50))
			records := k.all()
			require.Len(t, records, 3)
			for i, topic := range []string{"otlp_spans", "otlp_metrics", "otlp_logs"} {
				require.Equal(t, topic, records[i].topic)
				require.Equal(t, encoded(t, frame.Signal(i), 50), records[i].raw, "the bytes are the sender's")
			}
		})
	}
}

func TestDecodeOfStockExporters(t *testing.T) {
	for _, way := range ways {
		t.Run(way.protocol+" "+way.compression, func(t *testing.T) {
			cfg := testConfig(func(c *Config) { c.Passthrough.Enabled = false })
			set := receivertest.NewNopSettings(metadata.Type)
			var traces consumertest.TracesSink
			var metrics consumertest.MetricsSink
			var logs consumertest.LogsSink
			rt, err := NewFactory().CreateTraces(t.Context(), set, cfg, &traces)
			require.NoError(t, err)
			rm, err := NewFactory().CreateMetrics(t.Context(), set, cfg, &metrics)
			require.NoError(t, err)
			rl, err := NewFactory().CreateLogs(t.Context(), set, cfg, &logs)
			require.NoError(t, err)
			require.Same(t, rt, rm, "one gateway for all signals")
			require.Same(t, rt, rl)
			g := startReceiver(t, rt)
			f, sender := stock(t, g, way.protocol, way.compression)
			require.NoError(t, sendAll(t, f, sender, 50))
			require.Equal(t, testdata.GenerateTraces(50), traces.AllTraces()[0])
			require.Equal(t, testdata.GenerateMetrics(50), metrics.AllMetrics()[0])
			require.Equal(t, testdata.GenerateLogs(50), logs.AllLogs()[0])
		})
	}
}
