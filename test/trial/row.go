package trial

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/test/proc"
	"github.com/otel-lifeline/lifeline/test/stack"
)

// Fault is one row of the table of answers: what is done to Kafka, and undone.
type Fault struct {
	// Break makes the fault. It returns a function that waits until the fault has
	// met a write of the gateway; nil when Break itself has seen it.
	Break func(ctx context.Context, tr *Trial) (met func(context.Context) error)
	Heal  func(ctx context.Context, tr *Trial)
}

// Run injects the fault into a started trial. While it lasts, clients of both
// protocols must get the answer that makes them keep their data; when it has
// healed, all they and the stock sender had must be in Kafka.
func (tr *Trial) Run(ctx context.Context, f Fault) {
	t := tr.T
	t.Helper()
	met := f.Break(ctx, tr)
	tr.Post(ctx, tr.Request(2)) // each of the sender's exporters brings it

	requests := [2][]byte{tr.Request(1), tr.Request(1)}
	for i, a := range tr.Both(ctx, requests) {
		require.True(t, a.KeepsData(), "request %d: %s", i, a)
		require.InDelta(t, 2, a.Pause.Seconds(), 1, "request %d: %s", i, a)
		require.NotContains(t, a.Text, "127.0.0.1", "what is behind the gateway stays there")
	}
	if met != nil {
		require.NoError(t, met(ctx), "the fault did not happen")
	}
	require.NoError(t, tr.waitRetries(ctx), "the fault did not reach the sender")

	f.Heal(ctx, tr)
	for _, request := range requests {
		tr.SendUntilAcked(ctx, request)
	}
	tr.Settle(ctx)
	tr.RequireNothingDropped()
}

// Post gives a request to the stock sender.
func (tr *Trial) Post(ctx context.Context, request []byte) {
	tr.T.Helper()
	code, body, err := stack.Post(ctx, tr.senses, frame.Traces, request)
	require.NoError(tr.T, err)
	require.Equal(tr.T, http.StatusOK, code, string(body))
}

// Both sends the first request over gRPC and the second over HTTP, at once.
// headers are names and values in turn.
func (tr *Trial) Both(ctx context.Context, requests [2][]byte, headers ...string) (answers [2]Answer) {
	var wg sync.WaitGroup
	wg.Go(func() { answers[0] = viaGRPC(ctx, tr.conn, requests[0], headers...) })
	wg.Go(func() { answers[1] = viaHTTP(ctx, tr.Addr.GatewayHTTP, requests[1], headers...) })
	wg.Wait()
	return answers
}

// SendUntilAcked does with a request what a client does that keeps its data. headers
// are names and values in turn.
func (tr *Trial) SendUntilAcked(ctx context.Context, request []byte, headers ...string) {
	tr.T.Helper()
	var last Answer
	err := proc.Until(ctx, 100*time.Millisecond, func(ctx context.Context) (bool, error) {
		last = viaHTTP(ctx, tr.Addr.GatewayHTTP, request, headers...)
		return last.OK(), nil
	})
	require.NoError(tr.T, err, last)
}
