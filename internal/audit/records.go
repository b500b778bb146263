package audit

import (
	"fmt"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// emitFunc takes the bytes of one record, valid until it returns, and the Unix
// second of the record's own time.
type emitFunc func(record []byte, second int64)

// eachRecord decodes an export request and calls emit for each record: an
// export request of that one record alone, encoded again, so that the same
// record gives the same bytes however it was batched.
func eachRecord(s frame.Signal, request []byte, emit emitFunc) error {
	switch s {
	case frame.Traces:
		return eachSpan(request, emit)
	case frame.Metrics:
		return eachPoint(request, emit)
	case frame.Logs:
		return eachLog(request, emit)
	default:
		return fmt.Errorf("audit %s: this signal has no records that can be compared one by one", s)
	}
}

func eachSpan(request []byte, emit emitFunc) error {
	var dec ptrace.ProtoUnmarshaler
	td, err := dec.UnmarshalTraces(request)
	if err != nil {
		return fmt.Errorf("decode traces: %w", err)
	}
	var enc ptrace.ProtoMarshaler
	for _, rs := range td.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			one := ptrace.NewTraces()
			dstRS := one.ResourceSpans().AppendEmpty()
			rs.Resource().CopyTo(dstRS.Resource())
			dstRS.SetSchemaUrl(rs.SchemaUrl())
			dstSS := dstRS.ScopeSpans().AppendEmpty()
			ss.Scope().CopyTo(dstSS.Scope())
			dstSS.SetSchemaUrl(ss.SchemaUrl())
			span := dstSS.Spans().AppendEmpty()
			for _, src := range ss.Spans().All() {
				src.CopyTo(span)
				record, err := enc.MarshalTraces(one)
				if err != nil {
					return fmt.Errorf("encode a span: %w", err)
				}
				emit(record, unix(src.StartTimestamp()))
			}
		}
	}
	return nil
}

func eachLog(request []byte, emit emitFunc) error {
	var dec plog.ProtoUnmarshaler
	ld, err := dec.UnmarshalLogs(request)
	if err != nil {
		return fmt.Errorf("decode logs: %w", err)
	}
	var enc plog.ProtoMarshaler
	for _, rl := range ld.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			one := plog.NewLogs()
			dstRL := one.ResourceLogs().AppendEmpty()
			rl.Resource().CopyTo(dstRL.Resource())
			dstRL.SetSchemaUrl(rl.SchemaUrl())
			dstSL := dstRL.ScopeLogs().AppendEmpty()
			sl.Scope().CopyTo(dstSL.Scope())
			dstSL.SetSchemaUrl(sl.SchemaUrl())
			rec := dstSL.LogRecords().AppendEmpty()
			for _, src := range sl.LogRecords().All() {
				src.CopyTo(rec)
				record, err := enc.MarshalLogs(one)
				if err != nil {
					return fmt.Errorf("encode a log record: %w", err)
				}
				emit(record, unix(max(src.Timestamp(), src.ObservedTimestamp())))
			}
		}
	}
	return nil
}

func eachPoint(request []byte, emit emitFunc) error {
	var dec pmetric.ProtoUnmarshaler
	md, err := dec.UnmarshalMetrics(request)
	if err != nil {
		return fmt.Errorf("decode metrics: %w", err)
	}
	for _, rm := range md.ResourceMetrics().All() {
		for _, sm := range rm.ScopeMetrics().All() {
			one := pmetric.NewMetrics()
			dstRM := one.ResourceMetrics().AppendEmpty()
			rm.Resource().CopyTo(dstRM.Resource())
			dstRM.SetSchemaUrl(rm.SchemaUrl())
			dstSM := dstRM.ScopeMetrics().AppendEmpty()
			sm.Scope().CopyTo(dstSM.Scope())
			dstSM.SetSchemaUrl(sm.SchemaUrl())
			dst := dstSM.Metrics().AppendEmpty()
			for _, m := range sm.Metrics().All() {
				m.CopyTo(dst)
				if err := pointsOf(one, m, dst, emit); err != nil {
					return fmt.Errorf("metric %s: %w", m.Name(), err)
				}
			}
		}
	}
	return nil
}

func pointsOf(one pmetric.Metrics, src, dst pmetric.Metric, emit emitFunc) error {
	switch src.Type() {
	case pmetric.MetricTypeGauge:
		return points(one, src.Gauge().DataPoints(), dst.Gauge().DataPoints(), emit)
	case pmetric.MetricTypeSum:
		return points(one, src.Sum().DataPoints(), dst.Sum().DataPoints(), emit)
	case pmetric.MetricTypeHistogram:
		return points(one, src.Histogram().DataPoints(), dst.Histogram().DataPoints(), emit)
	case pmetric.MetricTypeExponentialHistogram:
		return points(one, src.ExponentialHistogram().DataPoints(), dst.ExponentialHistogram().DataPoints(), emit)
	case pmetric.MetricTypeSummary:
		return points(one, src.Summary().DataPoints(), dst.Summary().DataPoints(), emit)
	default: // a metric without data has no points
		return nil
	}
}

// point and pointSlice are what the five kinds of data points have in common.
type point[P any] interface {
	CopyTo(P)
	Timestamp() pcommon.Timestamp
}

type pointSlice[P any] interface {
	Len() int
	At(int) P
	RemoveIf(func(P) bool)
}

// points emits one once for each point of src, with that point alone in dst.
func points[S pointSlice[P], P point[P]](one pmetric.Metrics, src, dst S, emit emitFunc) error {
	if src.Len() == 0 {
		return nil
	}
	kept := false
	dst.RemoveIf(func(P) bool {
		first := !kept
		kept = true
		return !first
	})
	var enc pmetric.ProtoMarshaler
	for i := range src.Len() {
		src.At(i).CopyTo(dst.At(0))
		record, err := enc.MarshalMetrics(one)
		if err != nil {
			return fmt.Errorf("encode a data point: %w", err)
		}
		emit(record, unix(src.At(i).Timestamp()))
	}
	return nil
}

func unix(t pcommon.Timestamp) int64 { return int64(t / pcommon.Timestamp(time.Second)) } //nolint:gosec // a time in seconds fits
