package lifelineexporter

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"golang.org/x/net/http/httpguts"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/internal/passthrough"
)

// signalExporter is the exporter of one signal: a door to the core it shares
// with the other signals of the same component id.
type signalExporter struct {
	core   *core
	signal frame.Signal
	stop   sync.Once
	err    error // of the first Shutdown
}

// Start implements component.Component.
func (e *signalExporter) Start(ctx context.Context, host component.Host) error {
	return e.core.start(ctx, host)
}

// Shutdown implements component.Component. It closes this signal's intake; the
// last signal of the core drains the ring, within shutdown_timeout whatever ctx
// says. It may be called again, and without Start.
func (e *signalExporter) Shutdown(ctx context.Context) error {
	e.stop.Do(func() { e.err = e.core.release(ctx, e.signal) })
	return e.err
}

// Capabilities implements consumer.Traces, Metrics and Logs.
func (*signalExporter) Capabilities() consumer.Capabilities {
	return consumer.Capabilities{MutatesData: false}
}

// scratches keeps the memory in which calls are cut into frames: the ring has
// copied them before a call returns.
var scratches = sync.Pool{New: func() any { return new(otlpcodec.Scratch) }}

// ConsumeTraces implements consumer.Traces: nil means that td is in the ring.
func (e *signalExporter) ConsumeTraces(ctx context.Context, td ptrace.Traces) error {
	scratch := scratches.Get().(*otlpcodec.Scratch)
	defer scratches.Put(scratch)
	pieces, err := scratch.EncodeTraces(td, e.core.maxFrame())
	return e.accept(ctx, frame.Traces, pieces, err)
}

// ConsumeMetrics implements consumer.Metrics: nil means that md is in the ring.
func (e *signalExporter) ConsumeMetrics(ctx context.Context, md pmetric.Metrics) error {
	scratch := scratches.Get().(*otlpcodec.Scratch)
	defer scratches.Put(scratch)
	pieces, err := scratch.EncodeMetrics(md, e.core.maxFrame())
	return e.accept(ctx, frame.Metrics, pieces, err)
}

// ConsumeLogs implements consumer.Logs: nil means that ld is in the ring, or the
// request of any signal that ld stands for.
func (e *signalExporter) ConsumeLogs(ctx context.Context, ld plog.Logs) error {
	request, err := passthrough.FromContext(ctx, ld)
	if err != nil {
		return err
	}
	scratch := scratches.Get().(*otlpcodec.Scratch)
	defer scratches.Put(scratch)
	if request != nil {
		return request.Take(func(raw []byte) error {
			pieces := scratch.Divide(request.Signal, otlpcodec.Piece{Raw: raw, Items: request.Items}, e.core.maxFrame())
			return e.accept(ctx, request.Signal, pieces, nil)
		})
	}
	pieces, err := scratch.EncodeLogs(ld, e.core.maxFrame())
	return e.accept(ctx, frame.Logs, pieces, err)
}

// accept puts the pieces of one call into the ring, all or none. What cannot be
// encoded today cannot be encoded tomorrow: permanent.
func (e *signalExporter) accept(ctx context.Context, s frame.Signal, pieces []otlpcodec.Piece, err error) error {
	if err != nil {
		return consumererror.NewPermanent(err)
	}
	if len(pieces) == 0 {
		return nil
	}
	meta, err := e.core.metadata(ctx)
	if err != nil {
		return consumererror.NewPermanent(err)
	}
	return e.core.accept(s, meta, pieces)
}

// printable reports whether value is what gRPC takes: printable ASCII.
func printable(value string) bool {
	return !strings.ContainsFunc(value, func(c rune) bool { return c < 0x20 || c > 0x7e })
}

// maxMetadata bounds the client metadata of a frame, in bytes of keys and values.
// Servers bound their headers, and so does a flare; what is larger could be
// neither sent nor flared.
const maxMetadata = 8 << 10

// metadata picks metadata_keys out of the client's metadata. What could not be a
// header would fail on every attempt to send, so it is refused here.
func (c *core) metadata(ctx context.Context) (map[string][]string, error) {
	if len(c.metaKeys) == 0 {
		return nil, nil
	}
	info := client.FromContext(ctx)
	var meta map[string][]string
	size := 0
	for _, key := range c.metaKeys {
		values := info.Metadata.Get(key)
		if len(values) == 0 {
			continue
		}
		for _, value := range values {
			size += len(key) + len(value)
			if !httpguts.ValidHeaderFieldValue(value) || c.cfg.GRPC.HasValue() && !printable(value) || size > maxMetadata {
				return nil, fmt.Errorf("client metadata %s cannot be sent as a header, or all of it is longer than %d bytes: remove it from metadata_keys or repair the client", key, maxMetadata)
			}
		}
		if meta == nil {
			meta = make(map[string][]string, len(c.metaKeys))
		}
		meta[key] = values
	}
	return meta, nil
}
