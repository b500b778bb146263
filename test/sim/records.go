package sim

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
)

// The signals that agents send.
const numSignals = 3

// noise is text that hardly compresses, the same in every run.
var noise = sync.OnceValue(func() string {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // noise
	b := make([]byte, 1<<18)
	for i := range b {
		b[i] = byte('!' + r.IntN(90))
	}
	return string(b)
})

// text returns what record id holds: its number, and padding bytes of noise.
func text(id int, padding int) string {
	at := id * 7919 % (len(noise()) - padding)
	return strconv.Itoa(id) + " " + noise()[at:at+padding]
}

func number(text string) (int, error) {
	digits, _, _ := strings.Cut(text, " ")
	return strconv.Atoi(digits)
}

// encode returns records of one signal, numbered from first, as an exporter
// hands them to its engine.
func encode(s frame.Signal, first, n, padding int, maxFrame int64) ([]otlpcodec.Piece, error) {
	switch s {
	case frame.Traces:
		td := ptrace.NewTraces()
		spans := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans()
		for i := range n {
			spans.AppendEmpty().SetName(text(first+i, padding))
		}
		return new(otlpcodec.Scratch).EncodeTraces(td, maxFrame)
	case frame.Metrics:
		md := pmetric.NewMetrics()
		m := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
		m.SetName("requests")
		points := m.SetEmptyGauge().DataPoints()
		for i := range n {
			points.AppendEmpty().Attributes().PutStr("text", text(first+i, padding))
		}
		return new(otlpcodec.Scratch).EncodeMetrics(md, maxFrame)
	default:
		ld := plog.NewLogs()
		logs := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
		for i := range n {
			logs.AppendEmpty().Body().SetStr(text(first+i, padding))
		}
		return new(otlpcodec.Scratch).EncodeLogs(ld, maxFrame)
	}
}

// decode returns the numbers of the records in a stored frame.
func decode(s frame.Signal, body frame.Body, size int64) ([]int, error) {
	raw, err := otlpcodec.Decompress(body, size)
	if err != nil {
		return nil, err
	}
	texts, err := texts(s, raw)
	if err != nil {
		return nil, err
	}
	ids := make([]int, len(texts))
	for i, text := range texts {
		if ids[i], err = number(text); err != nil {
			return nil, fmt.Errorf("record %d of a frame: %w", i, err)
		}
	}
	return ids, nil
}

func texts(s frame.Signal, raw []byte) (list []string, err error) {
	switch s {
	case frame.Traces:
		td, err := otlpcodec.DecodeTraces(raw)
		for _, rs := range td.ResourceSpans().All() {
			for _, ss := range rs.ScopeSpans().All() {
				for _, span := range ss.Spans().All() {
					list = append(list, span.Name())
				}
			}
		}
		return list, err
	case frame.Metrics:
		md, err := otlpcodec.DecodeMetrics(raw)
		for _, rm := range md.ResourceMetrics().All() {
			for _, sm := range rm.ScopeMetrics().All() {
				for _, m := range sm.Metrics().All() {
					for _, p := range m.Gauge().DataPoints().All() {
						text, _ := p.Attributes().Get("text")
						list = append(list, text.Str())
					}
				}
			}
		}
		return list, err
	default:
		ld, err := otlpcodec.DecodeLogs(raw)
		for _, rl := range ld.ResourceLogs().All() {
			for _, sl := range rl.ScopeLogs().All() {
				for _, lr := range sl.LogRecords().All() {
					list = append(list, lr.Body().Str())
				}
			}
		}
		return list, err
	}
}
