package lifelinereceiver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/kafka/topic"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otel-lifeline/lifeline/internal/bytesize"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/internal/passthrough"
)

// sink turns the bytes of a request, which held covers, into a job for its
// pipeline, or refuses them. It does not touch the pipeline yet, and keeps no
// part of raw unless it is the raw of its job. When it returns a job, held covers
// what the job will write.
type sink func(raw []byte, ownAgent bool, held *reservation) (job, error)

// job is a request that is good to be written.
type job struct {
	items    int64  // that will be written
	rejected int64  // that will not, because no answer could make them fit
	message  string // why
	decoded  bool   // the pipeline sees telemetry, not bytes
	size     int64  // of the whole request as uncompressed protobuf
	raw      []byte // what the job lends to the exporter; a buffer of its own
	// write returns when the pipeline is done with all of it. It is called once.
	write func(ctx context.Context, info client.Info, md map[string][]string) error
}

// copies is how often the bytes of a request are in memory while it is written:
// in its record and, once more, in the Kafka exporter's.
const copies = 2

// expansion is how much larger than its bytes decoded telemetry is taken to be.
const expansion = 8

// jsonMemory returns what the conversion of an OTLP/JSON request takes: every
// object of two characters becomes a struct.
func jsonMemory(raw []byte) int64 {
	const perObject, perComma = 256, 32
	return 4*int64(len(raw)) + perObject*int64(bytes.Count(raw, []byte("{"))) + perComma*int64(bytes.Count(raw, []byte(",")))
}

// envelop writes the bytes of a request as one log record, or as several when
// they are too many for one Kafka record.
func envelop(cfg PassthroughConfig, s frame.Signal, next consumer.Logs) sink {
	limit := int64(cfg.MaxMessageBytes)
	return func(raw []byte, ownAgent bool, held *reservation) (job, error) {
		if len(raw) == 0 {
			return job{write: func(context.Context, client.Info, map[string][]string) error { return nil }}, nil
		}
		pieces, err := split(s, raw, limit, held)
		if err != nil {
			return job{}, err
		}
		var j job
		var fit []plog.Logs
		for _, p := range pieces {
			switch {
			case int64(len(p.Raw)) <= limit:
				fit = append(fit, record(p.Raw))
				j.items += p.Items
			case ownAgent || p.Items == 0: // a success would say that something was written
				return job{}, tooLarge(fmt.Sprintf("what cannot be split and has %d bytes is", len(p.Raw)))
			default:
				j.rejected += p.Items
				j.message = fmt.Sprintf("records that have more than %s with their resource cannot be stored", bytesize.Size(limit))
			}
		}
		j.write = func(ctx context.Context, info client.Info, md map[string][]string) error {
			return writeParts(topic.WithTopic(ctx, cfg.topic(s)), next, fit, func(k int) client.Info {
				part := info
				part.Metadata = client.NewMetadata(withPart(md, k+1, len(fit)))
				return part
			})
		}
		return j, nil
	}
}

// split checks raw and cuts it into pieces of at most limit bytes, where records
// allow it. When it succeeds held covers the copies of the pieces.
func split(s frame.Signal, raw []byte, limit int64, held *reservation) ([]otlpcodec.Piece, error) {
	whole, err := check(s, raw, held)
	if err != nil {
		return nil, err
	}
	pieces, err := otlpcodec.SplitTo(s, whole, limit)
	if err != nil {
		return nil, err
	}
	var sum int64 // every piece repeats its resource and scope
	for _, p := range pieces {
		sum += int64(len(p.Raw))
	}
	if err := held.need(copies * sum); err != nil {
		return nil, err
	}
	held.resize(copies * sum)
	return pieces, nil
}

// check walks over raw and counts its items. What uses fields of old it returns
// in the words of today.
func check(s frame.Signal, raw []byte, held *reservation) (otlpcodec.Piece, error) {
	items, err := otlpcodec.Count(s, raw)
	if errors.Is(err, otlpcodec.ErrDeprecated) {
		if err := held.need(expansion * int64(len(raw))); err != nil {
			return otlpcodec.Piece{}, err
		}
		if raw, err = otlpcodec.Modernize(s, raw); err == nil {
			items, err = otlpcodec.Count(s, raw)
		}
	}
	return otlpcodec.Piece{Raw: raw, Items: items}, err
}

// lend hands the bytes of a request to the lifeline exporter behind the receiver,
// which makes a frame of them and cuts what is too large for one.
func lend(s frame.Signal, next consumer.Logs) sink {
	return func(raw []byte, _ bool, held *reservation) (job, error) {
		whole, err := check(s, raw, held)
		if err != nil {
			return job{}, err
		}
		if whole.Items == 0 {
			return job{write: func(context.Context, client.Info, map[string][]string) error { return nil }}, nil
		}
		memory := int64(cap(whole.Raw))
		if err := held.need(memory); err != nil {
			return job{}, err
		}
		held.resize(memory)
		return job{items: whole.Items, raw: whole.Raw, write: func(ctx context.Context, info client.Info, md map[string][]string) error {
			info.Metadata = client.NewMetadata(md)
			return guard(func() error { return passthrough.Hand(client.NewContext(ctx, info), s, whole, next.ConsumeLogs) })
		}}, nil
	}
}

// writeParts writes all parts at once and returns when the last one is done:
// one after the other, a large request would wait for Kafka once per part.
func writeParts(ctx context.Context, next consumer.Logs, parts []plog.Logs, info func(k int) client.Info) error {
	errs := make([]error, len(parts))
	var wg sync.WaitGroup
	for k, part := range parts {
		write := func() {
			errs[k] = guard(func() error { return next.ConsumeLogs(client.NewContext(ctx, info(k)), part) })
		}
		if k == len(parts)-1 {
			write()
			break
		}
		wg.Go(write)
	}
	wg.Wait()
	return errors.Join(errs...)
}

var errPanic = errors.New("panic")

// guard turns a panic of the pipeline into an error: one request must not take
// those of all other clients with it.
func guard(write func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v\n%s", errPanic, p, debug.Stack())
		}
	}()
	return write()
}

// record is the one log record that the kafka exporter's raw encoding turns
// into one Kafka record. It has a copy of raw: whoever is behind the receiver may
// keep the record for as long as it likes.
func record(raw []byte) plog.Logs {
	ld := plog.NewLogs()
	ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty().
		Body().SetEmptyBytes().FromRaw(raw)
	return ld
}

// decode is the sink of an ordinary receiver.
func decode[T any](parse func([]byte) (T, error), count func(T) int, consume func(context.Context, T) error) sink {
	return func(raw []byte, _ bool, held *reservation) (job, error) {
		if err := held.need(expansion * int64(len(raw))); err != nil {
			return job{}, err
		}
		held.resize(expansion * int64(len(raw)))
		data, err := parse(raw)
		if err != nil {
			return job{}, err
		}
		items := int64(count(data))
		return job{items: items, decoded: true, write: func(ctx context.Context, info client.Info, md map[string][]string) error {
			if items == 0 {
				return nil
			}
			info.Metadata = client.NewMetadata(md)
			return guard(func() error { return consume(client.NewContext(ctx, info), data) })
		}}, nil
	}
}

func decodeTraces(next consumer.Traces) sink {
	return decode(otlpcodec.DecodeTraces, ptrace.Traces.SpanCount, next.ConsumeTraces)
}

func decodeMetrics(next consumer.Metrics) sink {
	return decode(otlpcodec.DecodeMetrics, pmetric.Metrics.DataPointCount, next.ConsumeMetrics)
}

func decodeLogs(next consumer.Logs) sink {
	return decode(otlpcodec.DecodeLogs, plog.Logs.LogRecordCount, next.ConsumeLogs)
}
