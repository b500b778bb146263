package lifelineexporter

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/exporter"

	"github.com/otel-lifeline/lifeline/exporter/lifelineexporter/internal/metadata"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

// NewFactory returns the factory of the exporter. The exporters it makes for the
// signals of one configuration share one ring, one gate and one fallback.
func NewFactory() exporter.Factory {
	var cores registry
	return exporter.NewFactory(
		metadata.Type,
		createDefaultConfig,
		exporter.WithTraces(func(ctx context.Context, set exporter.Settings, cfg component.Config) (exporter.Traces, error) {
			return cores.attach(ctx, set, cfg, frame.Traces)
		}, metadata.TracesStability),
		exporter.WithMetrics(func(ctx context.Context, set exporter.Settings, cfg component.Config) (exporter.Metrics, error) {
			return cores.attach(ctx, set, cfg, frame.Metrics)
		}, metadata.MetricsStability),
		exporter.WithLogs(func(ctx context.Context, set exporter.Settings, cfg component.Config) (exporter.Logs, error) {
			return cores.attach(ctx, set, cfg, frame.Logs)
		}, metadata.LogsStability),
	)
}
