package otlpcodec_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
)

func TestCountAgreesWithPdata(t *testing.T) {
	for _, s := range signals {
		for _, n := range []int{0, 1, 2, 7, 100} {
			raw := sample(t, s, n)
			want, _, err := decode(s, raw)
			require.NoError(t, err)
			got, err := otlpcodec.Count(s, raw)
			require.NoError(t, err, "%s %d", s, n)
			require.Equal(t, want, got, "%s %d", s, n)
		}
		raw := scattered(t, s)
		want, _, err := decode(s, raw)
		require.NoError(t, err)
		got, err := otlpcodec.Count(s, raw)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func TestCountEveryMetricType(t *testing.T) {
	md := pmetric.NewMetrics()
	metrics := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics()
	metrics.AppendEmpty().SetEmptyGauge().DataPoints().AppendEmpty().SetIntValue(1)
	metrics.AppendEmpty().SetEmptySum().DataPoints().AppendEmpty().SetDoubleValue(1)
	h := metrics.AppendEmpty().SetEmptyHistogram().DataPoints().AppendEmpty()
	h.BucketCounts().FromRaw([]uint64{1, 2})
	h.ExplicitBounds().FromRaw([]float64{1})
	h.Exemplars().AppendEmpty().SetIntValue(3)
	e := metrics.AppendEmpty().SetEmptyExponentialHistogram().DataPoints().AppendEmpty()
	e.Positive().BucketCounts().FromRaw([]uint64{1, 200000})
	e.Negative().SetOffset(-3)
	metrics.AppendEmpty().SetEmptySummary().DataPoints().AppendEmpty().QuantileValues().AppendEmpty().SetValue(1)
	metrics.AppendEmpty().SetName("no type: no data point")

	pieces, err := new(otlpcodec.Scratch).EncodeMetrics(md, 0)
	require.NoError(t, err)
	require.Len(t, pieces, 1)
	items, err := otlpcodec.Count(frame.Metrics, pieces[0].Raw)
	require.NoError(t, err)
	require.EqualValues(t, 5, items)
}

// msg encodes a nested message: a tag of wire type 2, a length, the parts.
func msg(num byte, parts ...[]byte) []byte {
	var body []byte
	for _, p := range parts {
		body = append(body, p...)
	}
	out := []byte{num<<3 | 2}
	for n := len(body); ; n >>= 7 {
		if n < 0x80 {
			out = append(out, byte(n))
			break
		}
		out = append(out, byte(n)|0x80)
	}
	return append(out, body...)
}

// span wraps the fields of a span in a request.
func span(fields ...[]byte) []byte { return msg(1, msg(2, msg(2, fields...))) }

func metric(fields ...[]byte) []byte { return msg(1, msg(2, msg(2, fields...))) }

func nestedValues(levels int) []byte {
	value := []byte{0x10, 1} // bool_value: true
	for range levels {
		value = msg(5, msg(1, value)) // array_value { values }
	}
	return span(msg(9, msg(1, []byte("k")), msg(2, value)))
}

func TestCountRefuses(t *testing.T) {
	good := sample(t, frame.Traces, 3)
	for name, c := range map[string]struct {
		signal frame.Signal
		raw    []byte
		want   string
	}{
		"cut off":              {frame.Traces, good[:len(good)-1], "cut off"},
		"old and cut off":      {frame.Traces, append(old(), 0x0a, 5), "cut off"},
		"damaged old scope":    {frame.Logs, msg(1, moved(msg(2, []byte{0x0a, 5}))), "wrong wire type"},
		"old scope is a text":  {frame.Traces, msg(1, moved([]byte("scope"))), "not a valid"},
		"text":                 {frame.Traces, []byte("hello, world"), "wrong wire type"},
		"html":                 {frame.Logs, []byte("<html><body>login</body></html>"), "wrong wire type"},
		"field 0":              {frame.Traces, []byte{0x02, 0x00}, "field number"},
		"tag of 64 bits":       {frame.Traces, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, "field number"},
		"varint of 11 bytes":   {frame.Traces, []byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01}, "ten bytes"},
		"length of 2^63":       {frame.Traces, []byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, "cut off"},
		"group":                {frame.Traces, []byte{0x0b, 0x0c}, "wrong wire type"},
		"open group":           {frame.Traces, []byte{0x83, 0x7d, 0x08}, "cut off"},
		"end of no group":      {frame.Traces, []byte{0x84, 0x7d, 0x0a, 0}, "wrong wire type"},
		"span is a number":     {frame.Traces, msg(1, msg(2, []byte{0x10, 1})), "wrong wire type"},
		"trace id of 15 bytes": {frame.Traces, span(msg(1, make([]byte, 15))), "wrong length"},
		"span id of 16 bytes":  {frame.Traces, span(msg(2, make([]byte, 16))), "wrong length"},
		"name is a number":     {frame.Traces, span([]byte{0x28, 1}), "wrong wire type"},
		"start is a varint":    {frame.Traces, span([]byte{0x38, 1}), "wrong wire type"},
		"start is short":       {frame.Traces, span([]byte{0x39, 1, 2}), "cut off"},
		"flags are short":      {frame.Traces, span([]byte{0x85, 0x01, 1}), "cut off"},
		"attribute is damaged": {frame.Traces, span(msg(9, msg(2, []byte{0x0a, 5}))), "cut off"},
		"bounds of 7 bytes":    {frame.Metrics, metric(msg(9, msg(1, msg(7, make([]byte, 7))))), "packed"},
		"counts end early":     {frame.Metrics, metric(msg(10, msg(1, msg(8, msg(2, []byte{0x80}))))), "packed"},
		"too deep":             {frame.Traces, nestedValues(500), "deeper than 1000"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := otlpcodec.Count(c.signal, c.raw)
			require.ErrorIs(t, err, otlpcodec.ErrMalformed)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, c.signal.String())
		})
	}
	_, err := otlpcodec.Count(frame.Signal(9), nil)
	require.Error(t, err)
}

func TestCountAcceptsWhatDecodersAccept(t *testing.T) {
	for name, c := range map[string]struct {
		signal frame.Signal
		raw    []byte
	}{
		"nested 490 deep":   {frame.Traces, nestedValues(490)},
		"empty span id":     {frame.Traces, span(msg(2), msg(1))},
		"unpacked bounds":   {frame.Metrics, metric(msg(9, msg(1, []byte{0x39, 1, 2, 3, 4, 5, 6, 7, 8})))},
		"unpacked counts":   {frame.Metrics, metric(msg(10, msg(1, msg(8, []byte{0x10, 7}))))},
		"span field 100":    {frame.Traces, span([]byte{0xa0, 0x06, 1})},
		"unknown group":     {frame.Traces, append([]byte{0x83, 0x7d, 0x84, 0x7d}, span()...)},
		"gauge, then sum":   {frame.Metrics, metric(msg(5, msg(1), msg(1)), msg(7, msg(1)))},
		"tag of 33 bits":    {frame.Traces, append([]byte{0x8a, 0x80, 0x80, 0x80, 0x80, 0x01}, span()[1:]...)},
		"resource repeated": {frame.Traces, msg(1, msg(1), msg(1), msg(2, msg(2)))},
	} {
		t.Run(name, func(t *testing.T) {
			items, err := otlpcodec.Count(c.signal, c.raw)
			require.NoError(t, err)
			want, _, err := decode(c.signal, c.raw)
			require.NoError(t, err)
			require.Equal(t, want, items)
			require.EqualValues(t, 1, items)
		})
	}
}

// old is a request as senders before OTLP 0.15 wrote it: its one scope stands in
// field 1000 of the resource, and holds one empty record.
func old() []byte {
	return msg(1, moved(msg(2)))
}

// moved encodes field 1000, whose tag takes two bytes.
func moved(scope []byte) []byte { return append([]byte{0xc2, 0x3e}, msg(0, scope)[1:]...) }

func TestDeprecatedFieldIsModernized(t *testing.T) {
	for _, s := range signals[:3] {
		raw := old()
		_, err := otlpcodec.Count(s, raw)
		require.ErrorIs(t, err, otlpcodec.ErrDeprecated)
		_, _, err = otlpcodec.Split(s, raw)
		require.ErrorIs(t, err, otlpcodec.ErrDeprecated)

		modern, err := otlpcodec.Modernize(s, raw)
		require.NoError(t, err)
		items, err := otlpcodec.Count(s, modern)
		require.NoError(t, err)
		want, _, err := decode(s, raw)
		require.NoError(t, err)
		require.Equal(t, want, items)
	}
}

func TestCountAllocatesNothing(t *testing.T) {
	for _, s := range signals {
		raw := sample(t, s, 50)
		require.Zero(t, testing.AllocsPerRun(20, func() {
			if _, err := otlpcodec.Count(s, raw); err != nil {
				t.Error(err)
			}
		}), s)
	}
}

func BenchmarkCount(b *testing.B) {
	for _, s := range signals {
		b.Run(s.String(), func(b *testing.B) {
			raw := sample(b, s, 1000)
			items, err := otlpcodec.Count(s, raw)
			require.NoError(b, err)
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				_, _ = otlpcodec.Count(s, raw)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(int64(b.N)*items), "ns/item")
		})
	}
}

func FuzzCount(f *testing.F) {
	for _, s := range signals {
		f.Add(uint8(s), sample(f, s, 2))
		f.Add(uint8(s), scattered(f, s))
	}
	f.Add(uint8(frame.Traces), nestedValues(500))
	f.Add(uint8(frame.Traces), old())
	f.Add(uint8(frame.Metrics), metric(msg(5, msg(1)), msg(7)))
	f.Add(uint8(frame.Traces), append([]byte{0x83, 0x7d, 0x84, 0x7d}, span()...))
	f.Add(uint8(frame.Metrics), metric(msg(10, msg(1, msg(8, msg(2, []byte{1, 0x80, 1}), []byte{0x10, 7})))))
	f.Fuzz(func(t *testing.T, signal uint8, raw []byte) {
		s := frame.Signal(signal % frame.NumSignals)
		items, err := otlpcodec.Count(s, raw)
		want, _, refused := decode(s, raw)
		switch {
		case errors.Is(err, otlpcodec.ErrDeprecated):
			require.NoError(t, refused, "Count accepts what pdata does not decode")
			modern, err := otlpcodec.Modernize(s, raw)
			require.NoError(t, err)
			items, err = otlpcodec.Count(s, modern)
			require.NoError(t, err)
			require.Equal(t, want, items)
		case err == nil:
			require.NoError(t, refused, "Count accepts what pdata does not decode")
			require.Equal(t, want, items)
		case !strings.Contains(err.Error(), "nested deeper"):
			require.Error(t, refused, "Count refuses what pdata decodes: %v", err)
		}
	})
}
