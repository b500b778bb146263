package otlpcodec_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
)

// bottomless is a request of about 20 MB that holds one attribute in the second
// of its resources, which needs gigabytes of stack if it is read level by level.
// The first resource is that of an old sender.
func bottomless() []byte {
	const size = 20 << 20
	var reversed []byte // from the inside out, each head behind what it contains
	wrap := func(num byte) {
		head := msg(num, make([]byte, 0))[:1]
		for n := len(reversed); ; n >>= 7 {
			if n < 0x80 {
				head = append(head, byte(n))
				break
			}
			head = append(head, byte(n)|0x80)
		}
		slices.Reverse(head)
		reversed = append(reversed, head...)
	}
	for len(reversed) < size {
		wrap(1) // values
		wrap(5) // array_value
	}
	for _, num := range []byte{2, 1, 1, 1} { // value, attribute, resource, resource_spans
		wrap(num)
	}
	slices.Reverse(reversed)
	return append(old(), reversed...)
}

// A stack that overflows ends the process, so a failure of this test is a crash.
func TestBottomlessRequestsAreMalformed(t *testing.T) {
	raw := bottomless()
	for _, s := range signals[:3] {
		_, err := otlpcodec.Count(s, raw)
		require.ErrorIs(t, err, otlpcodec.ErrMalformed)
		require.NotErrorIs(t, err, otlpcodec.ErrDeprecated)
		_, err = otlpcodec.Modernize(s, raw)
		require.ErrorIs(t, err, otlpcodec.ErrMalformed)
	}
	_, err := otlpcodec.DecodeTraces(raw)
	require.ErrorIs(t, err, otlpcodec.ErrMalformed)
	_, err = otlpcodec.DecodeMetrics(raw)
	require.ErrorIs(t, err, otlpcodec.ErrMalformed)
	_, err = otlpcodec.DecodeLogs(raw)
	require.ErrorIs(t, err, otlpcodec.ErrMalformed)
}

func TestDecodeTakesOldRequests(t *testing.T) {
	ld, err := otlpcodec.DecodeLogs(old())
	require.NoError(t, err)
	require.Equal(t, 1, ld.LogRecordCount())
}

// jsonValues is a request of one log record whose body is arrays inside arrays.
func jsonValues(levels int) string {
	return `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":` +
		strings.Repeat(`{"arrayValue":{"values":[`, levels) + strings.Repeat(`]}}`, levels) + `}]}]}]}`
}

func TestFromJSONNests(t *testing.T) {
	raw, err := otlpcodec.FromJSON(frame.Logs, []byte(jsonValues(400)))
	require.NoError(t, err)
	items, err := otlpcodec.Count(frame.Logs, raw)
	require.NoError(t, err)
	require.EqualValues(t, 1, items)

	raw, err = otlpcodec.FromJSON(frame.Logs, []byte(jsonValues(3000)))
	require.NoError(t, err)
	_, err = otlpcodec.Count(frame.Logs, raw)
	require.ErrorIs(t, err, otlpcodec.ErrMalformed)

	raw, err = otlpcodec.FromJSON(frame.Logs, []byte(`{"news":{"":[1]},"resourceLogs":[]}`))
	require.NoError(t, err)
	require.Empty(t, raw)
}

func TestFromJSONRefuses(t *testing.T) {
	good := jsonValues(1)
	for name, text := range map[string]string{
		"nothing":          "",
		"text":             "hello",
		"list":             "[" + good + "]",
		"cut off":          good[:len(good)-1],
		"two":              good + good,
		"something behind": good + "x",
		"text for a list":  `{"resourceLogs":"x"}`,
		"number for a log": `{"resourceLogs":[{"scopeLogs":[{"logRecords":[1]}]}]}`,
		"a nameless field": `{"":1,` + good[1:],
		"deep":             jsonValues(1_000_000),
		"deep and unknown": `{"news":` + strings.Repeat("[", 20<<20),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := otlpcodec.FromJSON(frame.Logs, []byte(text))
			require.ErrorIs(t, err, otlpcodec.ErrMalformed)
		})
	}
}
