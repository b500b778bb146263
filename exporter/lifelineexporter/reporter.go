package lifelineexporter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/otel-lifeline/lifeline/exporter/lifelineexporter/internal/metadata"
	"github.com/otel-lifeline/lifeline/internal/delivery"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
	"github.com/otel-lifeline/lifeline/internal/trouble"
)

// lossInterval is how often one kind of loss is logged.
const lossInterval = 10 * time.Second

// reporter tells the operator what delivery observes: one log line and one
// status event for every change of state. Safe for concurrent use.
type reporter struct {
	ctx      context.Context // never cancelled; instruments ask for one and delivery has none to hand on
	id       string
	log      *zap.Logger
	troubles *trouble.List
	builder  *metadata.TelemetryBuilder

	mu sync.Mutex
	// mu guards the following.
	losses map[lossKey]*loss
	closed bool
}

// lossKey is a kind of loss: lost, with a reason, or what stands for one.
type lossKey struct {
	signal frame.Signal
	reason string
}

// loss adds up what was not logged yet.
type loss struct {
	items   int64
	message string
	wait    *time.Timer // runs from a line to the next; nil: the next may come at once
}

// observer returns r as delivery wants it.
func (r *reporter) observer() delivery.Observer {
	return delivery.Observer{
		Gateway: r.gateway,
		Bucket:  r.bucket,
		Flared:  r.flared,
		Lost: func(s frame.Signal, reason delivery.LossReason, items int64) {
			r.lose(lossKey{s, string(reason)}, items, "")
		},
		Rejected: func(s frame.Signal, items int64, message string) { r.lose(lossKey{s, rejected}, items, message) },
		Dropped:  func(s frame.Signal, items int64) { r.lose(lossKey{s, dropped}, items, "") },
	}
}

func (r *reporter) gateway(ok bool, cause otlpsend.Cause, err error) {
	if ok {
		r.troubles.Set("gateway", nil)
		r.log.Info("The gateway takes data.")
		return
	}
	r.troubles.Set("gateway", fmt.Errorf("the gateway does not take data (%s): %w", cause, err))
	r.log.Warn("The gateway does not take data. It stays in the ring and is sent again.", zap.String("cause", string(cause)), zap.Error(err))
}

func (r *reporter) bucket(target string, ok bool, err error) {
	if target == "" {
		r.sealed(ok, err)
		return
	}
	if ok {
		r.troubles.Set(putRefused(target), nil)
		r.log.Info("The bucket takes flares.", zap.String("bucket", target))
		return
	}
	r.troubles.Set(putRefused(target), fmt.Errorf("flare::buckets: %s does not take flares: %w", target, err))
	r.log.Error("The bucket does not take flares. Check flare::buckets: name, credentials and the right to put.", zap.String("bucket", target), zap.Error(err))
}

// sealed says whether flares can be sealed. What is wrong with the key files is
// the fallback's to tell, and not twice.
func (r *reporter) sealed(ok bool, err error) {
	switch {
	case ok:
		r.troubles.Set("sealing", nil)
	case !errors.As(err, new(keyError)):
		r.troubles.Set("sealing", fmt.Errorf("no flare can be sealed: %w", err))
		r.log.Error("No flare can be sealed. Check flare::recipients_file and flare::signing_key_file.", zap.Error(err))
	}
}

func (r *reporter) flared(m *flare.Manifest, target string, took time.Duration, size int64) {
	set := metric.WithAttributes(attribute.String("exporter", r.id), attribute.String("reason", string(m.Reason)))
	r.builder.LifelineFlareSize.Record(r.ctx, size, set)
	r.builder.LifelineFlarePutDuration.Record(r.ctx, took.Seconds(), set)
	fields := []zap.Field{
		zap.String("flare_id", m.FlareID), zap.String("reason", string(m.Reason)), zap.String("bucket", target),
		zap.Int64("bytes", size), zap.Duration("took", took),
	}
	for signal, total := range m.Totals {
		fields = append(fields, zap.Int64(signal, total.Items))
	}
	if m.Reason == flare.Drill {
		r.log.Info("A drill was stored: the way to the bucket works.", fields...)
		return
	}
	r.log.Warn("A flare was stored: data that no gateway took is safe in the bucket.", fields...)
}

// What stands for a reason where items are bad and not lost.
const (
	rejected = "rejected"
	dropped  = "dropped"
)

// lose logs the first loss of a kind at once and then adds up.
func (r *reporter) lose(key lossKey, items int64, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.losses == nil {
		r.losses = map[lossKey]*loss{}
	}
	l := r.losses[key]
	if l == nil {
		l = &loss{}
		r.losses[key] = l
	}
	l.items += items
	l.message = message
	if l.wait == nil {
		r.say(key, l)
	}
}

// say writes one line and, until the component stops, opens the wait for the
// next. The caller holds mu.
func (r *reporter) say(key lossKey, l *loss) {
	if l.items == 0 {
		l.wait = nil
		return
	}
	fields := []zap.Field{zap.Stringer("signal", key.signal), zap.Int64("items", l.items)}
	switch key.reason {
	case rejected:
		r.log.Error("The gateway proved items bad. They are not sent again.", append(fields, zap.String("message", l.message))...)
	case dropped:
		r.log.Error("Items that the gateway proved bad are gone, because no bucket took them.", fields...)
	default:
		r.log.Error("Items are lost for good.", append(fields, zap.String("reason", key.reason))...)
	}
	l.items = 0
	if r.closed {
		return
	}
	l.wait = time.AfterFunc(lossInterval, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if !r.closed {
			r.say(key, l)
		}
	})
}

// close writes what is left to say. What comes after it is written at once.
func (r *reporter) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for key, l := range r.losses {
		if l.wait != nil {
			l.wait.Stop()
		}
		r.say(key, l)
		l.wait = nil
	}
}
