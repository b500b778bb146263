package bench

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/exporter/otlpexporter"
	"go.opentelemetry.io/collector/exporter/otlphttpexporter"

	"github.com/otel-lifeline/lifeline/exporter/lifelineexporter"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/internal/passthrough"
)

// BenchmarkConsume hands calls of some items to one exporter inside this process,
// until the last one was acked. cpu-ns/item is the CPU time of the whole process
// by then, the cheap server's included: ns/op alone would tell how long a call
// took and hide who does the work later.
func BenchmarkConsume(b *testing.B) {
	for _, s := range []frame.Signal{frame.Traces, frame.Metrics, frame.Logs} {
		for _, items := range []int{1, 10, 100, 1000} {
			for _, name := range []string{"lifeline-raw", "lifeline", "otlp-gzip", "otlp-zstd", "otlphttp-gzip", "otlphttp-zstd"} {
				b.Run(fmt.Sprintf("signal=%s/items=%d/exporter=%s", s, items, name), func(b *testing.B) {
					benchmarkConsume(b, name, Load{Signal: s, Items: items})
				})
			}
		}
	}
}

func benchmarkConsume(b *testing.B, name string, load Load) {
	sink, err := StartSink(b.Context(), "")
	require.NoError(b, err)
	defer func() { require.NoError(b, sink.Close()) }()
	pool, err := load.Pool(1)
	require.NoError(b, err)
	e, calls := newExporter(b, name, "http://"+sink.Addr(), load.Signal, pool)
	require.NoError(b, e.Start(b.Context(), componenttest.NewNopHost()))
	b.ReportAllocs()
	before := selfCPU(b)
	i := 0
	for b.Loop() {
		if err := calls[i%len(calls)](b.Context()); err != nil {
			b.Fatal(err)
		}
		i++
	}
	require.NoError(b, e.Shutdown(context.WithoutCancel(b.Context()))) // all is acked behind it
	b.ReportMetric(float64(selfCPU(b)-before)/float64(i*load.Items), "cpu-ns/item")
}

// contender returns the factory that a name stands for, and its configuration.
func contender(name, endpoint string) (exporter.Factory, map[string]any) {
	protocol, compression, _ := strings.Cut(name, "-")
	conf := map[string]any{"endpoint": endpoint, "compression": compression, "sending_queue": map[string]any{"block_on_overflow": true}}
	switch protocol {
	case "otlp":
		conf["tls"] = map[string]any{"insecure": true}
		return otlpexporter.NewFactory(), conf
	case "otlphttp":
		return otlphttpexporter.NewFactory(), conf
	}
	return lifelineexporter.NewFactory(), map[string]any{"http": map[string]any{"endpoint": endpoint}, "agent": "acme/host-17"}
}

// newExporter returns an exporter of the signal and its calls, decoded beforehand;
// for lifeline-raw, with the bytes as the receiver lends them.
func newExporter(b *testing.B, name, endpoint string, s frame.Signal, pool [][]byte) (component.Component, []func(context.Context) error) {
	b.Helper()
	factory, conf := contender(name, endpoint)
	cfg := factory.CreateDefaultConfig()
	require.NoError(b, confmap.NewFromStringMap(conf).Unmarshal(cfg))
	set := exportertest.NewNopSettings(factory.Type())
	calls := make([]func(context.Context) error, len(pool))
	switch {
	case name == "lifeline-raw":
		e, err := factory.CreateLogs(b.Context(), set, cfg)
		require.NoError(b, err)
		for i, raw := range pool {
			items, err := otlpcodec.Count(s, raw)
			require.NoError(b, err)
			calls[i] = func(ctx context.Context) error {
				return passthrough.Hand(ctx, s, otlpcodec.Piece{Raw: raw, Items: items}, e.ConsumeLogs)
			}
		}
		return e, calls
	case s == frame.Traces:
		e, err := factory.CreateTraces(b.Context(), set, cfg)
		require.NoError(b, err)
		for i, raw := range pool {
			td, err := otlpcodec.DecodeTraces(raw)
			require.NoError(b, err)
			calls[i] = func(ctx context.Context) error { return e.ConsumeTraces(ctx, td) }
		}
		return e, calls
	case s == frame.Metrics:
		e, err := factory.CreateMetrics(b.Context(), set, cfg)
		require.NoError(b, err)
		for i, raw := range pool {
			md, err := otlpcodec.DecodeMetrics(raw)
			require.NoError(b, err)
			calls[i] = func(ctx context.Context) error { return e.ConsumeMetrics(ctx, md) }
		}
		return e, calls
	default:
		e, err := factory.CreateLogs(b.Context(), set, cfg)
		require.NoError(b, err)
		for i, raw := range pool {
			ld, err := otlpcodec.DecodeLogs(raw)
			require.NoError(b, err)
			calls[i] = func(ctx context.Context) error { return e.ConsumeLogs(ctx, ld) }
		}
		return e, calls
	}
}

func selfCPU(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return u.Utime.Nano() + u.Stime.Nano()
}
