package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"google.golang.org/grpc/codes"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/test/env"
	"github.com/otel-lifeline/lifeline/test/stack"
	"github.com/otel-lifeline/lifeline/test/trial"
)

// TestOneLargeRecordAmongManySmall: one span that no Kafka record can hold comes
// with more than 8000 that fit. A stock sender is told of the one and loses none
// of the others; a Lifeline agent is told to split, and nothing is written.
func TestOneLargeRecordAmongManySmall(t *testing.T) {
	ctx := env.Within(t, 60*time.Second)
	tr := trial.New(t, stack.Options{Otelcol: otelcol, Configs: configs})
	tr.Start(ctx)
	var small []byte // a stock batch processor sends as much
	for range 8192/stack.SpansPerRequest + 1 {
		small = append(small, tr.Request(2)...)
	}
	large := largeSpan(t)
	tr.Post(ctx, append(small, large...))
	tr.Settle(ctx)
	tr.RequireNothingDropped()
	for _, id := range []string{"otlp_grpc", "otlp_http"} {
		_, err := tr.Sender.P.WaitLine(ctx, "Partial success", "\""+id+"\"", `"dropped_spans": 1`)
		require.NoError(t, err)
	}

	before := tr.Kafka.HighWater()
	batchID := []string{frame.HeaderBatchID, strings.Repeat("5", 32)}
	answers := tr.Both(ctx, [2][]byte{append(small, large...), append(small, large...)}, batchID...)
	require.Equal(t, codes.ResourceExhausted, answers[0].GRPC, answers[0])
	require.Contains(t, answers[0].Text, "larger than max")
	require.Equal(t, 413, answers[1].HTTP, answers[1])
	require.Equal(t, before, tr.Kafka.HighWater())
}

// largeSpan returns a request with one span above passthrough::max_message_bytes.
func largeSpan(t *testing.T) []byte {
	t.Helper()
	td := ptrace.NewTraces()
	span := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	span.SetName("large")
	span.Attributes().PutStr("payload", strings.Repeat("x", 1<<20))
	request, err := (&ptrace.ProtoMarshaler{}).MarshalTraces(td)
	require.NoError(t, err)
	return request
}

// TestUndecodable: data that is proven bad is the one thing a client is told not
// to bring again, on both protocols, and nothing of it reaches Kafka.
func TestUndecodable(t *testing.T) {
	ctx := env.Within(t, 60*time.Second)
	tr := trial.New(t, stack.Options{Otelcol: otelcol, Configs: configs})
	tr.Start(ctx)
	good := tr.Request(1)
	cut := good[:len(good)-1] // the last field says that it is longer
	answers := tr.Both(ctx, [2][]byte{cut, cut})
	require.Equal(t, codes.InvalidArgument, answers[0].GRPC, answers[0])
	require.Equal(t, 400, answers[1].HTTP, answers[1])
	for _, a := range answers {
		require.Zero(t, a.Pause, a)
	}
	require.Zero(t, tr.Kafka.HighWater())
	tr.SendUntilAcked(ctx, good)
	tr.Settle(ctx)
}
