package flarerecoveryextension

import (
	"context"
	"fmt"

	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/otel-lifeline/lifeline/extension/flarerecoveryextension/internal/metadata"
	"github.com/otel-lifeline/lifeline/internal/recovery"
)

// metrics shows the loop's state: one snapshot per scrape, so that figures fit
// each other.
type metrics struct {
	builder *metadata.TelemetryBuilder
	reg     metric.Registration
	self    attribute.KeyValue
}

func newMetrics(set extension.Settings, snapshot func() recovery.Snapshot) (*metrics, error) {
	b, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, fmt.Errorf("make the metrics: %w", err)
	}
	m := &metrics{builder: b, self: attribute.String("extension", set.ID.String())}
	m.reg, err = metadata.Meter(set.TelemetrySettings).RegisterCallback(
		func(_ context.Context, o metric.Observer) error {
			m.observe(o, snapshot())
			return nil
		},
		b.LifelineRecoveryPending, b.LifelineRecoveryOldestPendingAge, b.LifelineRecoveryLastPass,
		b.LifelineRecoveryRecoveredFlares, b.LifelineRecoveryRecoveredItems, b.LifelineRecoveryRecoveredBytes,
		b.LifelineRecoveryRejectedItems, b.LifelineRecoveryWaiting, b.LifelineRecoveryQuarantined, b.LifelineRecoveryStuck,
		b.LifelineRecoveryFlares, b.LifelineRecoveryDrills, b.LifelineRecoverySeqGaps, b.LifelineRecoveryOpened,
		b.LifelineRecoveryShards, b.LifelineRecoveryDrillLast, b.LifelineRecoveryClones, b.LifelineRecoveryUnresolved, b.LifelineRecoveryReportedLost,
		b.LifelineRecoveryFlaringAgents,
	)
	if err != nil {
		return nil, fmt.Errorf("register the metrics: %w", err)
	}
	return m, nil
}

func (m *metrics) observe(o metric.Observer, s recovery.Snapshot) {
	b := m.builder
	with := func(kv ...attribute.KeyValue) metric.ObserveOption {
		return metric.WithAttributeSet(attribute.NewSet(append(kv, m.self)...))
	}
	self := with()
	o.ObserveInt64(b.LifelineRecoveryPending, int64(s.Pending), self)
	o.ObserveFloat64(b.LifelineRecoveryOldestPendingAge, s.OldestPending.Seconds(), self)
	if !s.LastPass.IsZero() {
		o.ObserveInt64(b.LifelineRecoveryLastPass, s.LastPass.Unix(), self)
	}
	o.ObserveInt64(b.LifelineRecoveryRecoveredFlares, s.RecoveredFlares, self)
	o.ObserveInt64(b.LifelineRecoveryRecoveredItems, s.RecoveredItems, self)
	o.ObserveInt64(b.LifelineRecoveryRecoveredBytes, s.RecoveredBytes, self)
	o.ObserveInt64(b.LifelineRecoveryRejectedItems, s.RejectedItems, self)
	o.ObserveInt64(b.LifelineRecoveryDrills, s.DrillCount, self)
	o.ObserveInt64(b.LifelineRecoveryShards, int64(s.Shards), self)
	if s.AllRead { // no zero that is none: a rule would take the true figures for news
		o.ObserveInt64(b.LifelineRecoverySeqGaps, s.SeqGaps, self)
		o.ObserveInt64(b.LifelineRecoveryClones, s.Clones, self)
		o.ObserveInt64(b.LifelineRecoveryUnresolved, s.Unresolved, self)
		o.ObserveInt64(b.LifelineRecoveryReportedLost, s.ReportedLost, self)
	}
	for _, out := range s.Outbreaks {
		o.ObserveInt64(b.LifelineRecoveryFlaringAgents, int64(out.Agents), with(attribute.String("cause", out.Cause)))
	}
	for principal, at := range s.Drills {
		unix := int64(0)
		if !at.IsZero() {
			unix = at.Unix()
		}
		o.ObserveInt64(b.LifelineRecoveryDrillLast, unix, with(attribute.String("principal", principal)))
	}
	for reason, n := range s.Waiting {
		o.ObserveInt64(b.LifelineRecoveryWaiting, int64(n), with(attribute.String("reason", reason)))
	}
	for step, n := range s.Stuck {
		o.ObserveInt64(b.LifelineRecoveryStuck, int64(n), with(attribute.String("step", step)))
	}
	for reason, n := range s.Quarantined {
		o.ObserveInt64(b.LifelineRecoveryQuarantined, n, with(attribute.String("reason", reason)))
	}
	for kind, n := range s.Flares {
		o.ObserveInt64(b.LifelineRecoveryFlares, n, with(attribute.String("tenant", kind.Tenant), attribute.String("reason", string(kind.Reason)), attribute.String("cause", kind.Cause)))
	}
	for identity, n := range s.Opened {
		o.ObserveInt64(b.LifelineRecoveryOpened, n, with(attribute.String("identity", identity)))
	}
}

// close stops observing. It is called once or more.
func (m *metrics) close() {
	if m.reg != nil {
		_ = m.reg.Unregister() // it fails only for a registration of a foreign SDK
	}
	m.builder.Shutdown()
}
