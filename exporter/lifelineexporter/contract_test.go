package lifelineexporter

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pipeline"
	"go.opentelemetry.io/collector/receiver"

	"github.com/otel-lifeline/lifeline/exporter/lifelineexporter/internal/metadata"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
)

// contractServer stands in front of the suite's consumer. A permanent error of a
// request with one item is answered so that nobody can take it for a broken
// path: 413, which proves at once that this item is what is wrong. (A 400 needs
// an ack of something else first, which the suite does not give.)
type contractServer struct {
	*httptest.Server
	traces  atomic.Value // consumer.Traces
	metrics atomic.Value
	logs    atomic.Value
	final   chan struct{} // one per answer after which nobody may send again
}

func newContractServer(t *testing.T) *contractServer {
	s := &contractServer{final: make(chan struct{}, 1)}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// ServeHTTP implements http.Handler.
func (s *contractServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	err := s.consume(r.Context(), r, frame.Bytes(body))
	switch {
	case consumererror.IsPermanent(err):
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		s.final <- struct{}{}
	case err != nil:
		w.WriteHeader(http.StatusServiceUnavailable)
	default:
		w.Header().Set("Content-Type", protobuf)
		s.final <- struct{}{}
	}
}

// patient waits for the fate of every call: the suite counts requests the moment
// the last call has returned, and the ring takes data before it is sent.
type patient struct {
	*signalExporter
	final <-chan struct{}
}

// ConsumeTraces implements consumer.Traces.
func (p patient) ConsumeTraces(ctx context.Context, td ptrace.Traces) error {
	return p.wait(p.signalExporter.ConsumeTraces(ctx, td))
}

// ConsumeMetrics implements consumer.Metrics.
func (p patient) ConsumeMetrics(ctx context.Context, md pmetric.Metrics) error {
	return p.wait(p.signalExporter.ConsumeMetrics(ctx, md))
}

// ConsumeLogs implements consumer.Logs.
func (p patient) ConsumeLogs(ctx context.Context, ld plog.Logs) error {
	return p.wait(p.signalExporter.ConsumeLogs(ctx, ld))
}

func (p patient) wait(err error) error {
	if err == nil {
		<-p.final
	}
	return err
}

// exporters makes patient exporters.
func (s *contractServer) exporters() exporter.Factory {
	var cores registry
	attach := func(ctx context.Context, set exporter.Settings, cfg component.Config, signal frame.Signal) (patient, error) {
		e, err := cores.attach(ctx, set, cfg, signal)
		return patient{e, s.final}, err
	}
	return exporter.NewFactory(metadata.Type, createDefaultConfig,
		exporter.WithTraces(func(ctx context.Context, set exporter.Settings, cfg component.Config) (exporter.Traces, error) {
			return attach(ctx, set, cfg, frame.Traces)
		}, metadata.TracesStability),
		exporter.WithMetrics(func(ctx context.Context, set exporter.Settings, cfg component.Config) (exporter.Metrics, error) {
			return attach(ctx, set, cfg, frame.Metrics)
		}, metadata.MetricsStability),
		exporter.WithLogs(func(ctx context.Context, set exporter.Settings, cfg component.Config) (exporter.Logs, error) {
			return attach(ctx, set, cfg, frame.Logs)
		}, metadata.LogsStability),
	)
}

func (s *contractServer) consume(ctx context.Context, r *http.Request, body frame.Bytes) error {
	size, err := strconv.ParseInt(r.Header.Get(frame.HeaderSize), 10, 64)
	if err != nil {
		return err
	}
	raw, err := otlpcodec.Decompress(body, size)
	if err != nil {
		return err
	}
	switch r.URL.Path {
	case frame.Traces.HTTPPath():
		td, err := otlpcodec.DecodeTraces(raw)
		if err != nil {
			return err
		}
		return s.traces.Load().(consumer.Traces).ConsumeTraces(ctx, td)
	case frame.Metrics.HTTPPath():
		md, err := otlpcodec.DecodeMetrics(raw)
		if err != nil {
			return err
		}
		return s.metrics.Load().(consumer.Metrics).ConsumeMetrics(ctx, md)
	default:
		ld, err := otlpcodec.DecodeLogs(raw)
		if err != nil {
			return err
		}
		return s.logs.Load().(consumer.Logs).ConsumeLogs(ctx, ld)
	}
}

// receivers makes receivers that hand the consumer to the running server.
func (s *contractServer) receivers() receiver.Factory {
	type nop struct {
		component.StartFunc
		component.ShutdownFunc
	}
	return receiver.NewFactory(component.MustNewType("contract"),
		func() component.Config { return &struct{}{} },
		receiver.WithTraces(func(_ context.Context, _ receiver.Settings, _ component.Config, next consumer.Traces) (receiver.Traces, error) {
			s.traces.Store(next)
			return nop{}, nil
		}, component.StabilityLevelAlpha),
		receiver.WithMetrics(func(_ context.Context, _ receiver.Settings, _ component.Config, next consumer.Metrics) (receiver.Metrics, error) {
			s.metrics.Store(next)
			return nop{}, nil
		}, component.StabilityLevelAlpha),
		receiver.WithLogs(func(_ context.Context, _ receiver.Settings, _ component.Config, next consumer.Logs) (receiver.Logs, error) {
			s.logs.Store(next)
			return nop{}, nil
		}, component.StabilityLevelAlpha),
	)
}

func TestTheCollectorsContract(t *testing.T) {
	for _, signal := range []pipeline.Signal{pipeline.SignalTraces, pipeline.SignalMetrics, pipeline.SignalLogs} {
		t.Run(signal.String(), func(t *testing.T) {
			s := newContractServer(t)
			cfg := createDefaultConfig().(*Config)
			client := *cfg.HTTP.GetOrInsertDefault()
			client.Endpoint = s.URL
			cfg.HTTP = configoptional.Some(client)
			cfg.Frame.Linger = 0
			cfg.Retry = RetryConfig{InitialInterval: time.Millisecond, MaxInterval: time.Millisecond}
			cfg.ShutdownTimeout = time.Minute
			require.NoError(t, cfg.Validate())
			exportertest.CheckConsumeContract(exportertest.CheckConsumeContractParams{
				T: t, NumberOfTestElements: 10, Signal: signal,
				ExporterFactory: s.exporters(), ExporterConfig: cfg,
				ReceiverFactory: s.receivers(), ReceiverConfig: &struct{}{},
			})
		})
	}
}
