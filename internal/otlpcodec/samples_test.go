package otlpcodec_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/pprofile/pprofileotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.opentelemetry.io/collector/pdata/testdata"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// decode is pdata's opinion: the items of raw and one line per item that names
// it together with its resource and scope.
func decode(s frame.Signal, raw []byte) (items int64, lines []string, err error) {
	switch s {
	case frame.Traces:
		r := ptraceotlp.NewExportRequest()
		err = r.UnmarshalProto(raw)
		if err == nil {
			lines = traceLines(r.Traces())
		}
		return int64(r.Traces().SpanCount()), lines, err
	case frame.Metrics:
		r := pmetricotlp.NewExportRequest()
		err = r.UnmarshalProto(raw)
		if err == nil {
			lines = metricLines(r.Metrics())
		}
		return int64(r.Metrics().DataPointCount()), lines, err
	case frame.Logs:
		r := plogotlp.NewExportRequest()
		err = r.UnmarshalProto(raw)
		if err == nil {
			lines = logLines(r.Logs())
		}
		return int64(r.Logs().LogRecordCount()), lines, err
	default:
		r := pprofileotlp.NewExportRequest()
		err = r.UnmarshalProto(raw)
		return int64(r.Profiles().SampleCount()), nil, err
	}
}

// line prints its parts as one text to compare.
func line(parts ...any) string { return fmt.Sprint(parts...) }

func traceLines(td ptrace.Traces) (lines []string) {
	for _, rs := range td.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, span := range ss.Spans().All() {
				one := ptrace.NewTraces()
				r := one.ResourceSpans().AppendEmpty()
				rs.Resource().CopyTo(r.Resource())
				r.SetSchemaUrl(rs.SchemaUrl())
				sc := r.ScopeSpans().AppendEmpty()
				ss.Scope().CopyTo(sc.Scope())
				sc.SetSchemaUrl(ss.SchemaUrl())
				span.CopyTo(sc.Spans().AppendEmpty())
				b, _ := (&ptrace.ProtoMarshaler{}).MarshalTraces(one)
				lines = append(lines, line(b))
			}
		}
	}
	return lines
}

func metricLines(md pmetric.Metrics) (lines []string) {
	for _, rm := range md.ResourceMetrics().All() {
		for _, sm := range rm.ScopeMetrics().All() {
			for _, m := range sm.Metrics().All() {
				head := line(rm.Resource().Attributes().AsRaw(), rm.SchemaUrl(), sm.Scope().Name(), sm.SchemaUrl(),
					m.Name(), m.Unit(), m.Description(), m.Type(), m.Metadata().AsRaw())
				for i := range points(m) {
					lines = append(lines, head+points(m)[i])
				}
			}
		}
	}
	return lines
}

func points(m pmetric.Metric) (out []string) {
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		for _, p := range m.Gauge().DataPoints().All() {
			out = append(out, line(p.Attributes().AsRaw(), p.Timestamp(), p.DoubleValue(), p.IntValue(), p.Exemplars().Len()))
		}
	case pmetric.MetricTypeSum:
		for _, p := range m.Sum().DataPoints().All() {
			out = append(out, line(m.Sum().IsMonotonic(), m.Sum().AggregationTemporality(),
				p.Attributes().AsRaw(), p.Timestamp(), p.DoubleValue(), p.IntValue(), p.Exemplars().Len()))
		}
	case pmetric.MetricTypeHistogram:
		for _, p := range m.Histogram().DataPoints().All() {
			out = append(out, line(m.Histogram().AggregationTemporality(), p.Attributes().AsRaw(), p.Timestamp(),
				p.BucketCounts().AsRaw(), p.ExplicitBounds().AsRaw(), p.Sum()))
		}
	case pmetric.MetricTypeExponentialHistogram:
		for _, p := range m.ExponentialHistogram().DataPoints().All() {
			out = append(out, line(m.ExponentialHistogram().AggregationTemporality(), p.Attributes().AsRaw(), p.Timestamp(),
				p.Positive().BucketCounts().AsRaw(), p.Negative().Offset(), p.Sum()))
		}
	case pmetric.MetricTypeSummary:
		for _, p := range m.Summary().DataPoints().All() {
			out = append(out, line(p.Attributes().AsRaw(), p.Timestamp(), p.QuantileValues().Len(), p.Sum()))
		}
	}
	return out
}

func logLines(ld plog.Logs) (lines []string) {
	for _, rl := range ld.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, rec := range sl.LogRecords().All() {
				lines = append(lines, line(rl.Resource().Attributes().AsRaw(), rl.SchemaUrl(), sl.Scope().Name(), sl.SchemaUrl(),
					rec.Attributes().AsRaw(), rec.Body().AsString(), rec.Timestamp(), rec.SeverityNumber(), rec.TraceID(), rec.Flags()))
			}
		}
	}
	return lines
}

// sample returns an encoded request of n spans, metrics, log records or profiles.
func sample(tb testing.TB, s frame.Signal, n int) []byte {
	tb.Helper()
	var raw []byte
	var err error
	switch s {
	case frame.Traces:
		raw, err = ptraceotlp.NewExportRequestFromTraces(testdata.GenerateTraces(n)).MarshalProto()
	case frame.Metrics:
		raw, err = pmetricotlp.NewExportRequestFromMetrics(testdata.GenerateMetrics(n)).MarshalProto()
	case frame.Logs:
		raw, err = plogotlp.NewExportRequestFromLogs(testdata.GenerateLogs(n)).MarshalProto()
	default:
		raw, err = pprofileotlp.NewExportRequestFromProfiles(testdata.GenerateProfiles(n)).MarshalProto()
	}
	require.NoError(tb, err)
	return raw
}

// scattered returns a request whose items lie under several resources, scopes
// and metrics, some of them empty, with a field that OTLP does not know at each level.
func scattered(tb testing.TB, s frame.Signal) []byte {
	tb.Helper()
	var raw []byte
	unknownField := []byte{0xfa, 0x3f, 0x03, 'n', 'e', 'w'} // field 1023
	for i := range 5 {
		raw = append(raw, sample(tb, s, i*3)...)
		raw = append(raw, unknownField...)
	}
	return raw
}

var signals = []frame.Signal{frame.Traces, frame.Metrics, frame.Logs, frame.Profiles}
