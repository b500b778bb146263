package otlpcodec_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/testdata"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
)

// checkHalves asserts that left and right together are raw, item by item.
func checkHalves(t *testing.T, s frame.Signal, raw []byte, pieces ...otlpcodec.Piece) {
	t.Helper()
	total, want, err := decode(s, raw)
	require.NoError(t, err)
	var got []string
	for _, p := range pieces {
		require.Positive(t, p.Items)
		counted, err := otlpcodec.Count(s, p.Raw)
		require.NoError(t, err)
		items, lines, err := decode(s, p.Raw)
		require.NoError(t, err)
		require.Equal(t, items, p.Items)
		require.Equal(t, items, counted)
		got = append(got, lines...)
		total -= items
	}
	require.Zero(t, total)
	require.True(t, slices.Equal(want, got), "the items of the halves are not those of the whole")
}

func TestSplit(t *testing.T) {
	for _, s := range signals[:3] {
		for _, raw := range [][]byte{sample(t, s, 2), sample(t, s, 3), sample(t, s, 101), scattered(t, s)} {
			left, right, err := otlpcodec.Split(s, raw)
			require.NoError(t, err)
			require.LessOrEqual(t, right.Items-left.Items, int64(1))
			checkHalves(t, s, raw, left, right)
		}
	}
}

func TestSplitOneDataPointOfAMetric(t *testing.T) {
	md := pmetric.NewMetrics()
	m := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	m.SetName("requests")
	sum := m.SetEmptySum()
	sum.SetIsMonotonic(true)
	sum.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
	for i := range 5 {
		sum.DataPoints().AppendEmpty().SetIntValue(int64(i))
	}
	raw, err := (&pmetric.ProtoMarshaler{}).MarshalMetrics(md)
	require.NoError(t, err)
	left, right, err := otlpcodec.Split(frame.Metrics, raw)
	require.NoError(t, err)
	checkHalves(t, frame.Metrics, raw, left, right)
}

func TestSplitKeepsUnknownFields(t *testing.T) {
	unknownField := []byte{0xfa, 0x3f, 0x03, 'n', 'e', 'w'}
	raw := append(span(unknownField), msg(1, msg(2, msg(2), unknownField), unknownField)...)
	raw = append(raw, unknownField...)
	left, right, err := otlpcodec.Split(frame.Traces, raw)
	require.NoError(t, err)
	require.Equal(t, append(span(unknownField), unknownField...), left.Raw)
	require.Equal(t, append(msg(1, msg(2, msg(2), unknownField), unknownField), unknownField...), right.Raw)
}

func TestSplitRefuses(t *testing.T) {
	for _, s := range signals {
		for _, n := range []int{0, 1} {
			if s == frame.Metrics && n == 1 {
				continue // a generated metric has two data points
			}
			_, _, err := otlpcodec.Split(s, sample(t, s, n))
			require.ErrorIs(t, err, otlpcodec.ErrOneItem)
		}
	}
	_, _, err := otlpcodec.Split(frame.Profiles, sample(t, frame.Profiles, 10))
	require.ErrorIs(t, err, otlpcodec.ErrOneItem)
	_, _, err = otlpcodec.Split(frame.Logs, []byte("garbage"))
	require.ErrorIs(t, err, otlpcodec.ErrMalformed)
}

func TestEncodeFitsPieces(t *testing.T) {
	const maxSize = 1 << 10
	encode := map[frame.Signal]func(n int, maxSize int64) ([]otlpcodec.Piece, error){
		frame.Traces: func(n int, maxSize int64) ([]otlpcodec.Piece, error) {
			return otlpcodec.EncodeTraces(testdata.GenerateTraces(n), maxSize)
		},
		frame.Metrics: func(n int, maxSize int64) ([]otlpcodec.Piece, error) {
			return otlpcodec.EncodeMetrics(testdata.GenerateMetrics(n), maxSize)
		},
		frame.Logs: func(n int, maxSize int64) ([]otlpcodec.Piece, error) {
			return otlpcodec.EncodeLogs(testdata.GenerateLogs(n), maxSize)
		},
	}
	for s, encode := range encode {
		raw := sample(t, s, 200)
		whole, err := encode(200, 0)
		require.NoError(t, err)
		require.Len(t, whole, 1)
		require.Equal(t, raw, whole[0].Raw, "a piece is what an exporter would send")

		pieces, err := encode(200, maxSize)
		require.NoError(t, err)
		checkHalves(t, s, raw, pieces...)
		for _, p := range pieces {
			require.LessOrEqual(t, len(p.Raw), maxSize)
		}

		single, err := encode(3, 1)
		require.NoError(t, err)
		for _, p := range single {
			require.EqualValues(t, 1, p.Items, "what does not fit holds one item")
		}
		none, err := encode(0, maxSize)
		require.NoError(t, err)
		require.Empty(t, none)
	}
	ld := plog.NewLogs()
	ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty()
	none, err := otlpcodec.EncodeLogs(ld, maxSize)
	require.NoError(t, err)
	require.Empty(t, none, "a resource without records is nothing to send")
}

func TestEncodeLeavesInputAlone(t *testing.T) {
	td := testdata.GenerateTraces(10)
	before, err := (&ptrace.JSONMarshaler{}).MarshalTraces(td)
	require.NoError(t, err)
	td.MarkReadOnly()
	_, err = otlpcodec.EncodeTraces(td, 100)
	require.NoError(t, err)
	after, err := (&ptrace.JSONMarshaler{}).MarshalTraces(td)
	require.NoError(t, err)
	require.Equal(t, before, after)
}

func BenchmarkSplit(b *testing.B) {
	raw := sample(b, frame.Traces, 8192)
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		_, _, err := otlpcodec.Split(frame.Traces, raw)
		require.NoError(b, err)
	}
}

func FuzzSplit(f *testing.F) {
	for _, s := range signals[:3] {
		f.Add(uint8(s), sample(f, s, 3))
		f.Add(uint8(s), scattered(f, s))
	}
	f.Fuzz(func(t *testing.T, signal uint8, raw []byte) {
		s := frame.Signal(signal % 3)
		left, right, err := otlpcodec.Split(s, raw)
		if err != nil {
			return
		}
		checkHalves(t, s, raw, left, right)
	})
}
