package audit_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otel-lifeline/lifeline/internal/audit"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

// logs returns a request with one log record per body; record i is of second i.
func logs(t *testing.T, bodies ...string) []byte {
	t.Helper()
	ld := plog.NewLogs()
	rl := ld.ResourceLogs().AppendEmpty()
	rl.Resource().Attributes().PutStr("host.name", "h")
	sl := rl.ScopeLogs().AppendEmpty()
	for i, body := range bodies {
		r := sl.LogRecords().AppendEmpty()
		r.Body().SetStr(body)
		r.SetObservedTimestamp(pcommon.Timestamp(i) * 1e9)
		if i == 0 {
			r.SetSeverityText("only the first") // what one record has must not stick to the next
		}
	}
	b, err := (&plog.ProtoMarshaler{}).MarshalLogs(ld)
	require.NoError(t, err)
	return b
}

const (
	batchA = frame.BatchID("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
	batchB = frame.BatchID("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb")
)

// copyOf is a request as one Kafka record brought it.
type copyOf struct {
	request []byte
	batch   frame.BatchID
}

type rowCase struct {
	name     string
	accepted [][]byte
	kafka    []copyOf
	want     audit.Row
}

func rowCases(t *testing.T) []rowCase {
	abc := logs(t, "a", "b", "c")
	return []rowCase{
		{"nothing", nil, nil, audit.Row{}},
		{"all there", [][]byte{abc}, []copyOf{{abc, batchA}}, audit.Row{Accepted: 3, Kafka: 3}},
		{
			"joined with another",
			[][]byte{logs(t, "a"), logs(t, "a", "b")},
			[]copyOf{{append(logs(t, "a"), logs(t, "a", "b")...), batchA}},
			audit.Row{Accepted: 3, Kafka: 3},
		},
		{
			"all lost",
			[][]byte{abc},
			nil,
			audit.Row{Accepted: 3, Lost: 3, Gaps: 3},
		},
		{
			"the end lost",
			[][]byte{abc},
			[]copyOf{{logs(t, "a", "b"), batchA}},
			audit.Row{Accepted: 3, Kafka: 2, Lost: 1, Gaps: 1},
		},
		{
			"one altered",
			[][]byte{abc},
			[]copyOf{{logs(t, "a", "X", "c"), batchA}},
			audit.Row{Accepted: 3, Kafka: 3, Lost: 1, Altered: 1},
		},
		{
			"resent under the same id, and as a half of it",
			[][]byte{abc},
			[]copyOf{{abc, batchA}, {abc, batchA}, {logs(t, "a"), batchA + ".0"}},
			audit.Row{Accepted: 3, Kafka: 7, Duplicates: 4, Marked: 4},
		},
		{
			"resent under another id",
			[][]byte{abc},
			[]copyOf{{abc, batchA}, {abc, batchB}},
			audit.Row{Accepted: 3, Kafka: 6, Duplicates: 3},
		},
		{
			"resent without an id",
			[][]byte{abc},
			[]copyOf{{abc, ""}, {abc, ""}},
			audit.Row{Accepted: 3, Kafka: 6, Duplicates: 3},
		},
		{
			"equal records are counted, not merged",
			[][]byte{abc, abc},
			[]copyOf{{abc, batchA}},
			audit.Row{Accepted: 6, Kafka: 3, Lost: 3},
		},
	}
}

func TestRowOfLogs(t *testing.T) {
	for _, tc := range rowCases(t) {
		t.Run(tc.name, func(t *testing.T) {
			var l audit.Ledger
			for _, r := range tc.accepted {
				require.NoError(t, l.Accept(frame.Logs, r))
			}
			for _, c := range tc.kafka {
				require.NoError(t, l.Kafka(frame.Logs, c.request, c.batch))
			}
			tc.want.Signal = frame.Logs
			require.Equal(t, tc.want, l.Row(frame.Logs))
			require.Equal(t, tc.want.Lost+tc.want.Altered == 0, l.Row(frame.Logs).OK())
			require.Zero(t, l.Row(frame.Traces).Accepted, "signals do not mix")
		})
	}
}

func TestTracesAreComparedSpanBySpan(t *testing.T) {
	spans := func(scope string, ids ...byte) []byte {
		td := ptrace.NewTraces()
		ss := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty()
		ss.Scope().SetName(scope)
		for _, id := range ids {
			sp := ss.Spans().AppendEmpty()
			sp.SetSpanID(pcommon.SpanID{id})
			sp.SetStartTimestamp(pcommon.Timestamp(id) * 1e9)
		}
		b, err := (&ptrace.ProtoMarshaler{}).MarshalTraces(td)
		require.NoError(t, err)
		return b
	}
	var l audit.Ledger
	require.NoError(t, l.Accept(frame.Traces, spans("s", 1, 2, 3)))
	require.NoError(t, l.Kafka(frame.Traces, spans("s", 3, 1), batchA))
	require.NoError(t, l.Kafka(frame.Traces, spans("other scope", 2), batchB))
	require.Equal(t, audit.Row{Signal: frame.Traces, Accepted: 3, Kafka: 3, Lost: 1, Altered: 1}, l.Row(frame.Traces))
}

func TestEveryKindOfPointIsCompared(t *testing.T) {
	point := func(add func(pmetric.Metric, pcommon.Timestamp, uint64), values ...uint64) []byte {
		md := pmetric.NewMetrics()
		sm := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty()
		for range 2 { // two metrics, so that the second is not mixed with the first
			m := sm.Metrics().AppendEmpty()
			m.SetName("m")
			for i, v := range values {
				add(m, pcommon.Timestamp(i)*1e9, v)
			}
		}
		b, err := (&pmetric.ProtoMarshaler{}).MarshalMetrics(md)
		require.NoError(t, err)
		return b
	}
	kinds := map[string]func(pmetric.Metric, pcommon.Timestamp, uint64){
		"gauge": func(m pmetric.Metric, ts pcommon.Timestamp, v uint64) {
			if m.Type() == pmetric.MetricTypeEmpty {
				m.SetEmptyGauge()
			}
			p := m.Gauge().DataPoints().AppendEmpty()
			p.SetTimestamp(ts)
			p.SetDoubleValue(float64(v))
		},
		"sum": func(m pmetric.Metric, ts pcommon.Timestamp, v uint64) {
			if m.Type() == pmetric.MetricTypeEmpty {
				m.SetEmptySum().SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
			}
			p := m.Sum().DataPoints().AppendEmpty()
			p.SetTimestamp(ts)
			p.SetDoubleValue(float64(v))
		},
		"histogram": func(m pmetric.Metric, ts pcommon.Timestamp, v uint64) {
			if m.Type() == pmetric.MetricTypeEmpty {
				m.SetEmptyHistogram()
			}
			p := m.Histogram().DataPoints().AppendEmpty()
			p.SetTimestamp(ts)
			p.BucketCounts().FromRaw([]uint64{v, 1})
		},
		"exponential histogram": func(m pmetric.Metric, ts pcommon.Timestamp, v uint64) {
			if m.Type() == pmetric.MetricTypeEmpty {
				m.SetEmptyExponentialHistogram()
			}
			p := m.ExponentialHistogram().DataPoints().AppendEmpty()
			p.SetTimestamp(ts)
			p.SetCount(v)
		},
		"summary": func(m pmetric.Metric, ts pcommon.Timestamp, v uint64) {
			if m.Type() == pmetric.MetricTypeEmpty {
				m.SetEmptySummary()
			}
			p := m.Summary().DataPoints().AppendEmpty()
			p.SetTimestamp(ts)
			p.SetCount(v)
		},
	}
	for name, add := range kinds {
		t.Run(name, func(t *testing.T) {
			var l audit.Ledger
			require.NoError(t, l.Accept(frame.Metrics, point(add, 1, 2, 3)))
			require.NoError(t, l.Kafka(frame.Metrics, point(add, 1, 9, 3), batchA))
			require.Equal(t, audit.Row{Signal: frame.Metrics, Accepted: 6, Kafka: 6, Lost: 2, Altered: 2}, l.Row(frame.Metrics))
		})
	}
}

func TestBadInputIsNamed(t *testing.T) {
	var l audit.Ledger
	for _, s := range []frame.Signal{frame.Traces, frame.Metrics, frame.Logs} {
		require.ErrorContains(t, l.Kafka(s, []byte("no protobuf"), ""), "decode "+s.String())
	}
	require.ErrorContains(t, l.Accept(frame.Profiles, nil), "profiles")
}
