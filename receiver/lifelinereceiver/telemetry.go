package lifelinereceiver

import (
	"context"

	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/otel-lifeline/lifeline/internal/inflight"
	"github.com/otel-lifeline/lifeline/receiver/lifelinereceiver/internal/metadata"
)

// telemetry shows what is in flight. All of a scrape come from one reading,
// through one callback.
type telemetry struct {
	builder      *metadata.TelemetryBuilder
	registration metric.Registration
	own          metric.MeasurementOption // the receiver's id
	stages       [inflight.NumStages]metric.MeasurementOption
	registry     *inflight.Registry
	lane         *lane // nil: not the listener of recovery
}

func newTelemetry(set receiver.Settings, registry *inflight.Registry, own *lane) (*telemetry, error) {
	builder, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	id := attribute.String("receiver", set.ID.String())
	t := &telemetry{builder: builder, own: metric.WithAttributeSet(attribute.NewSet(id)), registry: registry, lane: own}
	for s := range inflight.Stage(inflight.NumStages) {
		t.stages[s] = metric.WithAttributeSet(attribute.NewSet(id, attribute.String("stage", s.String())))
	}
	t.registration, err = metadata.Meter(set.TelemetrySettings).RegisterCallback(t.observe,
		builder.LifelineInflightRequests, builder.LifelineInflightBytes, builder.LifelineInflightOldestAge, builder.LifelineOldestWriteAge,
		builder.LifelineRecoveryWindow)
	return t, err
}

func (t *telemetry) observe(_ context.Context, o metric.Observer) error {
	now := t.registry.Totals()
	for stage, n := range now.Requests {
		o.ObserveInt64(t.builder.LifelineInflightRequests, n, t.stages[stage])
	}
	o.ObserveInt64(t.builder.LifelineInflightBytes, now.Bytes, t.own)
	o.ObserveFloat64(t.builder.LifelineInflightOldestAge, now.OldestAge.Seconds(), t.own)
	o.ObserveFloat64(t.builder.LifelineOldestWriteAge, now.OldestWrite.Seconds(), t.own)
	if t.lane != nil {
		o.ObserveFloat64(t.builder.LifelineRecoveryWindow, t.lane.open(), t.own)
	}
	return nil
}

// countResend counts a request that was not written because its bytes are being
// written, or were just now.
func (t *telemetry) countResend(ctx context.Context) { t.builder.LifelineResends.Add(ctx, 1, t.own) }

func (t *telemetry) close() {
	_ = t.registration.Unregister() // it fails only for other providers' registrations
	t.builder.Shutdown()
}
