package lifelinereceiver

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configgrpc"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"

	"github.com/otel-lifeline/lifeline/internal/bytesize"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/receiver/lifelinereceiver/internal/metadata"
)

// NewFactory returns the factory of the lifeline receiver.
func NewFactory() receiver.Factory {
	return receiver.NewFactory(metadata.Type, createDefaultConfig,
		receiver.WithTraces(createTraces, metadata.TracesStability),
		receiver.WithMetrics(createMetrics, metadata.MetricsStability),
		receiver.WithLogs(createLogs, metadata.LogsStability))
}

const (
	defaultGRPCMaxMiB = 20 // as for HTTP, so that the way in does not matter

	// minPingInterval must be below the 10 s at which Collector clients ping: a
	// ping that comes early by network jitter would cost them the connection.
	minPingInterval = 5 * time.Second
)

func createDefaultConfig() component.Config {
	grpc := configgrpc.NewDefaultServerConfig()
	grpc.NetAddr.Endpoint = "localhost:4317"
	grpc.MaxRecvMsgSizeMiB = defaultGRPCMaxMiB
	grpc.MaxConcurrentStreams = 100
	keepalive := grpc.Keepalive.Get()
	parameters := keepalive.ServerParameters.Get()
	parameters.MaxConnectionAge = 10 * time.Minute // so that a new gateway gets its share
	policy := keepalive.EnforcementPolicy.Get()
	policy.MinTime, policy.PermitWithoutStream = minPingInterval, true

	http := confighttp.NewDefaultServerConfig()
	http.NetAddr.Endpoint = "localhost:4318"
	http.WriteTimeout = 0 // ack_timeout rules; a write timeout would cut its answer off
	http.ReadHeaderTimeout = 10 * time.Second

	return &Config{
		Protocols:   Protocols{GRPC: configoptional.Default(grpc), HTTP: configoptional.Default(http)},
		Passthrough: defaultPassthrough(),
		Admission:   AdmissionConfig{MaxInflight: 256 * bytesize.MiB, MaxWait: time.Second},
		AckTimeout:  20 * time.Second,
	}
}

func defaultPassthrough() PassthroughConfig {
	return PassthroughConfig{
		Enabled:         true,
		To:              toKafka,
		TracesTopic:     "otlp_spans",
		MetricsTopic:    "otlp_metrics",
		LogsTopic:       "otlp_logs",
		ProfilesTopic:   "otlp_profiles",
		MaxMessageBytes: 900 * bytesize.KiB,
	}
}

var errWrongPipeline = errors.New("passthrough::enabled is true: the receiver writes requests of all signals as log records, " +
	"so it belongs into one logs pipeline and no other; or set passthrough::enabled to false")

func createTraces(_ context.Context, set receiver.Settings, cfg component.Config, next consumer.Traces) (receiver.Traces, error) {
	c := cfg.(*Config)
	if c.Passthrough.Enabled {
		return nil, errWrongPipeline
	}
	return gateways.share(c, set, func(g *gateway) { g.sinks[frame.Traces] = decodeTraces(next) })
}

func createMetrics(_ context.Context, set receiver.Settings, cfg component.Config, next consumer.Metrics) (receiver.Metrics, error) {
	c := cfg.(*Config)
	if c.Passthrough.Enabled {
		return nil, errWrongPipeline
	}
	return gateways.share(c, set, func(g *gateway) { g.sinks[frame.Metrics] = decodeMetrics(next) })
}

func createLogs(_ context.Context, set receiver.Settings, cfg component.Config, next consumer.Logs) (receiver.Logs, error) {
	c := cfg.(*Config)
	return gateways.share(c, set, func(g *gateway) {
		if !c.Passthrough.Enabled {
			g.sinks[frame.Logs] = decodeLogs(next)
			return
		}
		for s := range frame.Signal(frame.NumSignals) {
			switch {
			case c.Passthrough.To == toKafka:
				g.sinks[s] = envelop(c.Passthrough, s, next)
			case s != frame.Profiles: // which the exporter does not take
				g.sinks[s] = lend(s, next)
			}
		}
	})
}
