package lifelinereceiver

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/receiver/lifelinereceiver/internal/metadata"
)

func TestShutdownAnswersWhatIsInFlight(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			k, started, finish := slowKafka()
			r, err := NewFactory().CreateLogs(t.Context(), receivertest.NewNopSettings(metadata.Type), testConfig(), k)
			require.NoError(t, err)
			g := startReceiver(t, r)
			answer := make(chan reply, 1)
			raw := encoded(t, frame.Traces, 3)
			background(t, func() { answer <- send(t.Context(), g, protocol, raw) })
			<-started
			stopped := make(chan error, 1)
			background(t, func() { stopped <- r.Shutdown(context.Background()) })
			finish <- nil
			require.Equal(t, codes.OK, (<-answer).status.Code())
			require.NoError(t, <-stopped)
			require.NoError(t, r.Shutdown(t.Context()), "twice is fine")
		})
	}
}

func TestShutdownDoesNotWaitForKafkaForEver(t *testing.T) {
	k, started, finish := slowKafka()
	r, err := NewFactory().CreateLogs(t.Context(), receivertest.NewNopSettings(metadata.Type), testConfig(), k)
	require.NoError(t, err)
	g := startReceiver(t, r)
	raw := encoded(t, frame.Traces, 3)
	background(t, func() { send(t.Context(), g, "grpc", raw) })
	<-started
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, r.Shutdown(ctx), "cut off")
	finish <- nil
	g.workers.writes.Wait()
}

// While HTTP still works on its last request, gRPC clients are told to go elsewhere.
func TestShutdownStopsBothProtocolsAtOnce(t *testing.T) {
	k, started, finish := slowKafka()
	r, err := NewFactory().CreateLogs(t.Context(), receivertest.NewNopSettings(metadata.Type), testConfig(), k)
	require.NoError(t, err)
	g := startReceiver(t, r)
	conn := dial(t, g)
	conn.Connect()
	for state := conn.GetState(); state != connectivity.Ready; state = conn.GetState() {
		require.True(t, conn.WaitForStateChange(t.Context(), state))
	}
	answer := make(chan reply, 1)
	raw := encoded(t, frame.Traces, 3)
	background(t, func() { answer <- send(t.Context(), g, "http", raw) })
	<-started
	stopped := make(chan error, 1)
	background(t, func() { stopped <- r.Shutdown(context.Background()) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.True(t, conn.WaitForStateChange(ctx, connectivity.Ready), "gRPC waits for HTTP")
	finish <- nil
	require.Equal(t, codes.OK, (<-answer).status.Code())
	require.NoError(t, <-stopped)
}
