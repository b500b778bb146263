package lifelineexporter

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configtls"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/otel-lifeline/lifeline/exporter/lifelineexporter/internal/metadata"
	"github.com/otel-lifeline/lifeline/internal/delivery"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/reload"
)

// reading is everything a scrape shows, taken at one instant.
type reading struct {
	items     delivery.Snapshot
	signals   [frame.NumSignals]bool // that a pipeline may bring
	hasFlare  bool
	ready     bool
	gateway   time.Time // end of the gateway's certificate; zero: not known
	client    time.Time // end of our own
	signingAt time.Time // end of the signing key's
}

// telemetry shows readings as metrics. All of a scrape come from one reading,
// through one callback, so that the items add up in every scrape.
type telemetry struct {
	builder *metadata.TelemetryBuilder
	id      attribute.KeyValue
	read    atomic.Pointer[func() reading]
}

// newTelemetry registers the callback; until observe is called it shows nothing.
func newTelemetry(set component.TelemetrySettings, id component.ID) (*telemetry, error) {
	builder, err := metadata.NewTelemetryBuilder(set)
	if err != nil {
		return nil, fmt.Errorf("make instruments: %w", err)
	}
	t := &telemetry{builder: builder, id: attribute.String("exporter", id.String())}
	_, err = metadata.Meter(set).RegisterCallback(t.callback,
		builder.LifelineAcceptedItems, builder.LifelineDeliveredItems, builder.LifelineFlaredItems,
		builder.LifelineRejectedItems, builder.LifelineLostItems, builder.LifelineHeldItems, builder.LifelineLateAcks,
		builder.ExporterQueueSize, builder.ExporterQueueCapacity, builder.LifelineRingOldestAge,
		builder.LifelineFlares, builder.LifelineFlareReady, builder.LifelineDrillLastPut,
		builder.LifelineGatewayNotAfter, builder.LifelineClientNotAfter, builder.LifelineSigningNotAfter)
	if err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return t, nil
}

// observe sets where readings come from.
func (t *telemetry) observe(read func() reading) { t.read.Store(&read) }

// freeze shows the last reading for ever: a reader that pushes collects once
// more when all components have stopped, and must not miss how it ended.
func (t *telemetry) freeze() {
	if read := t.read.Load(); read != nil {
		last := (*read)()
		t.observe(func() reading { return last })
	}
}

func (t *telemetry) callback(_ context.Context, o metric.Observer) error {
	read := t.read.Load()
	if read == nil {
		return nil
	}
	r := (*read)()
	for s := range frame.Signal(frame.NumSignals) {
		if r.signals[s] {
			t.observeItems(o, s, r.items.Signals[s])
		}
	}
	own := metric.WithAttributes(t.id)
	o.ObserveInt64(t.builder.ExporterQueueSize, r.items.Used, own)
	o.ObserveInt64(t.builder.ExporterQueueCapacity, r.items.Capacity, own)
	o.ObserveFloat64(t.builder.LifelineRingOldestAge, r.items.OldestAge.Seconds(), own)
	if r.hasFlare {
		t.observeFlares(o, r.items.Flares)
		var ready int64
		if r.ready {
			ready = 1
		}
		o.ObserveInt64(t.builder.LifelineFlareReady, ready, own)
	}
	for instrument, at := range map[metric.Int64Observable]time.Time{
		t.builder.LifelineDrillLastPut:    r.items.DrillPut,
		t.builder.LifelineGatewayNotAfter: r.gateway,
		t.builder.LifelineClientNotAfter:  r.client,
		t.builder.LifelineSigningNotAfter: r.signingAt,
	} {
		if !at.IsZero() {
			o.ObserveInt64(instrument, at.Unix(), own)
		}
	}
	return nil
}

// observeFlares shows the kinds that never came as well, as observeItems does.
func (t *telemetry) observeFlares(o metric.Observer, flares map[delivery.FlareOutcome]int64) {
	for _, reason := range []flare.Reason{flare.Expired, flare.RingFull, flare.Shutdown, flare.Rejected, flare.Drill, flare.Manual} {
		for _, outcome := range delivery.Outcomes() {
			o.ObserveInt64(t.builder.LifelineFlares, flares[delivery.FlareOutcome{Reason: reason, Outcome: outcome}], metric.WithAttributes(t.id,
				attribute.String("reason", string(reason)), attribute.String("outcome", outcome)))
		}
	}
}

func (t *telemetry) observeItems(o metric.Observer, s frame.Signal, items delivery.Items) {
	signal := attribute.String("signal", s.String())
	set := metric.WithAttributes(t.id, signal)
	o.ObserveInt64(t.builder.LifelineAcceptedItems, items.Accepted, set)
	o.ObserveInt64(t.builder.LifelineDeliveredItems, items.Delivered, set)
	o.ObserveInt64(t.builder.LifelineRejectedItems, items.Rejected, set)
	o.ObserveInt64(t.builder.LifelineHeldItems, items.Held, set)
	o.ObserveInt64(t.builder.LifelineLateAcks, items.LateAcks, set)
	// Zeros are shown as well: an alert on an increase misses the first step of a
	// series that was not there before.
	for _, reason := range []flare.Reason{flare.Expired, flare.RingFull, flare.Shutdown, flare.Manual} {
		o.ObserveInt64(t.builder.LifelineFlaredItems, items.Flared[reason], metric.WithAttributes(t.id, signal, attribute.String("reason", string(reason))))
	}
	for _, reason := range []delivery.LossReason{
		delivery.LostRingFull, delivery.LostShutdown, delivery.LostBudget, delivery.LostFlareUnknown, delivery.LostCorrupt,
	} {
		o.ObserveInt64(t.builder.LifelineLostItems, items.Lost[reason], metric.WithAttributes(t.id, signal, attribute.String("reason", string(reason))))
	}
}

// clientEnd returns what tells when the client certificate of a TLS configuration ends:
// the zero time without one or for a broken one. It reads the file again when it changed.
func clientEnd(cfg configtls.Config) func() time.Time {
	if cfg.CertFile == "" {
		end := certEnd([]byte(cfg.CertPem))
		return func() time.Time { return end }
	}
	file := &reload.Files[time.Time]{Key: "tls::cert_file", Paths: []string{cfg.CertFile}, Read: func() (time.Time, error) {
		text, _ := os.ReadFile(cfg.CertFile) // a missing file has no end
		return certEnd(text), nil
	}}
	return func() time.Time {
		end, _ := file.Get()
		return end
	}
}

func certEnd(text []byte) time.Time {
	block, _ := pem.Decode(text)
	if block == nil {
		return time.Time{}
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return time.Time{}
	}
	return cert.NotAfter
}
