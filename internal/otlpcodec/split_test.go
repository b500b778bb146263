package otlpcodec_test

import (
	"slices"
	"strings"
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

// pdata reads an empty group only if something stands behind it, which may be in
// the other half.
func TestSplitDropsGroups(t *testing.T) {
	group := []byte{0x9b, 0x06, 0x9c, 0x06}
	raw := msg(1, msg(2, msg(2), group, msg(2)))
	left, right, err := otlpcodec.Split(frame.Logs, raw)
	require.NoError(t, err)
	checkHalves(t, frame.Logs, raw, left, right)
	require.Equal(t, msg(1, msg(2, msg(2))), left.Raw)
	require.Equal(t, msg(1, msg(2, msg(2))), right.Raw)
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
			return new(otlpcodec.Scratch).EncodeTraces(testdata.GenerateTraces(n), maxSize)
		},
		frame.Metrics: func(n int, maxSize int64) ([]otlpcodec.Piece, error) {
			return new(otlpcodec.Scratch).EncodeMetrics(testdata.GenerateMetrics(n), maxSize)
		},
		frame.Logs: func(n int, maxSize int64) ([]otlpcodec.Piece, error) {
			return new(otlpcodec.Scratch).EncodeLogs(testdata.GenerateLogs(n), maxSize)
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
	none, err := new(otlpcodec.Scratch).EncodeLogs(ld, maxSize)
	require.NoError(t, err)
	require.Empty(t, none, "a resource without records is nothing to send")
}

// heavy is a request of n empty log records below a resource of size bytes.
func heavy(size, n int) plog.Logs {
	ld := plog.NewLogs()
	rl := ld.ResourceLogs().AppendEmpty()
	rl.Resource().Attributes().PutStr("env", strings.Repeat("x", size))
	records := rl.ScopeLogs().AppendEmpty().LogRecords()
	records.EnsureCapacity(n)
	for range n {
		records.AppendEmpty()
	}
	return ld
}

func totals(pieces []otlpcodec.Piece) (size, items int) {
	for _, p := range pieces {
		size += len(p.Raw)
		items += int(p.Items)
	}
	return size, items
}

// A resource that fills a piece nearly by itself, and records of a few bytes.
func TestSplitDoesNotMultiply(t *testing.T) {
	const limit = 32 << 10
	for _, c := range []struct {
		resource, records int
		fits              bool
	}{
		{limit / 3, 64 << 10, true},
		{limit / 2, 64 << 10, true},
		{limit * 6 / 10, limit / 4, true}, // the last cut pays if both halves fit
		{limit * 9 / 10, 64 << 10, false},
		{limit - 1<<10, 64 << 10, false},
		{2 * limit, 64 << 10, false},
	} {
		ld := heavy(c.resource, c.records)
		raw, err := (&plog.ProtoMarshaler{}).MarshalLogs(ld)
		require.NoError(t, err)
		require.Greater(t, len(raw), limit)
		split, err := otlpcodec.SplitTo(frame.Logs, otlpcodec.Piece{Raw: raw, Items: int64(c.records)}, limit)
		require.NoError(t, err)
		encoded, err := new(otlpcodec.Scratch).EncodeLogs(ld, limit)
		require.NoError(t, err)
		require.Equal(t, split, encoded)

		size, items := totals(split)
		require.Equal(t, c.records, items)
		require.LessOrEqual(t, size, 4*len(raw))
		for _, p := range split {
			if c.fits {
				require.LessOrEqual(t, len(p.Raw), limit)
			}
			require.LessOrEqual(t, len(p.Raw), max(limit, 2*c.resource+1<<10), "nothing stays whole that could be cut")
		}
	}
}

// One record that does not fit, and a great many that do: every cut on the way
// to it repeats the resource.
func TestSplitDoesNotMultiplyAroundOneRecord(t *testing.T) {
	const limit, n = 256 << 10, 64 << 10
	ld := heavy(limit, n)
	ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(n - 1).Body().SetStr(strings.Repeat("y", 2*limit))
	raw, err := (&plog.ProtoMarshaler{}).MarshalLogs(ld)
	require.NoError(t, err)
	pieces, err := otlpcodec.SplitTo(frame.Logs, otlpcodec.Piece{Raw: raw, Items: n}, limit)
	require.NoError(t, err)
	size, items := totals(pieces)
	require.Equal(t, n, items)
	require.Greater(t, len(pieces), 8, "it was not cut often enough to prove anything")
	require.LessOrEqual(t, size, 4*len(raw))
}

// A record that nests too deep for the walk is no reason to refuse it, or those
// beside it: what was just encoded is cut without being checked.
func TestEncodeTakesWhatTheWalkRefuses(t *testing.T) {
	ld := heavy(0, 10)
	value := ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Body()
	for range 1000 {
		value = value.SetEmptySlice().AppendEmpty()
	}
	pieces, err := new(otlpcodec.Scratch).EncodeLogs(ld, 100)
	require.NoError(t, err)
	_, items := totals(pieces)
	require.Equal(t, 10, items)
	require.Greater(t, len(pieces), 1)
	for _, p := range pieces[1:] {
		require.LessOrEqual(t, len(p.Raw), 100)
	}
	_, err = otlpcodec.SplitTo(frame.Logs, pieces[0], 100)
	require.ErrorIs(t, err, otlpcodec.ErrMalformed)
}

func TestEncodeLeavesInputAlone(t *testing.T) {
	td := testdata.GenerateTraces(10)
	before, err := (&ptrace.JSONMarshaler{}).MarshalTraces(td)
	require.NoError(t, err)
	td.MarkReadOnly()
	_, err = new(otlpcodec.Scratch).EncodeTraces(td, 100)
	require.NoError(t, err)
	after, err := (&ptrace.JSONMarshaler{}).MarshalTraces(td)
	require.NoError(t, err)
	require.Equal(t, before, after)
}

// BenchmarkEncode is what a call costs that is twice as large as a frame.
func BenchmarkEncode(b *testing.B) {
	td := testdata.GenerateTraces(4096)
	size := (&ptrace.ProtoMarshaler{}).TracesSize(td)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		pieces, err := new(otlpcodec.Scratch).EncodeTraces(td, int64(size)*6/10)
		require.NoError(b, err)
		require.Len(b, pieces, 2)
	}
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

// Of two kinds of data in one metric only the last one is read, so the first is
// neither counted nor kept when the metric is cut.
func TestSplitOfTwoKindsOfData(t *testing.T) {
	point := []byte{0x09, 1, 2, 3, 4, 5, 6, 7, 8} // not known to a number's point
	raw := metric(msg(5, msg(1, point), msg(1, point), msg(1, point)), msg(7, msg(1), msg(1)), msg(1, []byte("m")))
	left, right, err := otlpcodec.Split(frame.Metrics, raw)
	require.NoError(t, err)
	for _, half := range []otlpcodec.Piece{left, right} {
		items, _, err := decode(frame.Metrics, half.Raw)
		require.NoError(t, err)
		require.EqualValues(t, 1, half.Items)
		require.Equal(t, half.Items, items)
	}
}
