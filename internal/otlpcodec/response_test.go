package otlpcodec_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
)

func TestResponse(t *testing.T) {
	keys := []string{"rejectedSpans", "rejectedDataPoints", "rejectedLogRecords", "rejectedProfiles"}
	for i, s := range signals {
		raw, err := otlpcodec.Response(s, 3, "too large", false)
		require.NoError(t, err)
		r := ptraceotlp.NewExportResponse() // all signals answer with the same wire bytes
		require.NoError(t, r.UnmarshalProto(raw))
		require.EqualValues(t, 3, r.PartialSuccess().RejectedSpans())
		require.Equal(t, "too large", r.PartialSuccess().ErrorMessage())

		text, err := otlpcodec.Response(s, 3, "too large", true)
		require.NoError(t, err)
		require.Contains(t, string(text), keys[i])

		text, err = otlpcodec.Response(s, 0, "", true)
		require.NoError(t, err)
		require.NotContains(t, string(text), keys[i])
		raw, err = otlpcodec.Response(s, 0, "", false)
		require.NoError(t, err)
		r = ptraceotlp.NewExportResponse()
		require.NoError(t, r.UnmarshalProto(raw))
		require.Zero(t, r.PartialSuccess().RejectedSpans())
	}
	_, err := otlpcodec.Response(frame.Signal(9), 0, "", true)
	require.Error(t, err)
}
