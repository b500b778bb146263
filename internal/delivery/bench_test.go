package delivery

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// openGateway acks everything and reads nothing.
type openGateway struct{}

func (openGateway) Send(_ context.Context, r *otlpsend.Request) otlpsend.Answer {
	r.Released()
	return ack
}

// BenchmarkAccept takes calls of 10 KB that compress like spans with random
// ids do, to 256 KiB frames, and delivers them.
func BenchmarkAccept(b *testing.B) {
	e, err := New(Settings{
		Agent: "a", Senders: 4, Transport: openGateway{}, ShutdownTimeout: time.Second,
		Frame: FrameSettings{MaxSize: 256 << 10, Linger: time.Second},
		Ring:  RingSettings{Capacity: 64 << 20, MaxAge: 5 * time.Minute},
		Retry: RetrySettings{InitialInterval: time.Second, MaxInterval: time.Second, Timeout: time.Second},
	})
	require.NoError(b, err)
	require.NoError(b, e.Start(b.Context()))
	w := &world{padding: 100}
	var calls [64][]otlpcodec.Piece
	for i := range calls {
		calls[i], err = new(otlpcodec.Scratch).EncodeLogs(w.newRecords(int64(i)*80, 80), 0)
		require.NoError(b, err)
	}
	b.SetBytes(int64(len(calls[0][0].Raw)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := e.Accept(frame.Logs, nil, calls[i%len(calls)]); err != nil {
			b.Fatal(err)
		}
	}
	require.NoError(b, e.Shutdown(b.Context()))
}

// closedGateway refuses everything and reads nothing.
type closedGateway struct{}

func (closedGateway) Send(_ context.Context, r *otlpsend.Request) otlpsend.Answer {
	r.Released()
	return refusal
}

// BenchmarkOutage takes small calls into a ring that is full of small frames, in
// an outage: every call drops the oldest frame, and wakes up the loop.
func BenchmarkOutage(b *testing.B) {
	e, err := New(Settings{
		Agent: "a", Senders: 4, Transport: closedGateway{}, ShutdownTimeout: time.Second,
		Frame: FrameSettings{MaxSize: 256 << 10},
		Ring:  RingSettings{Capacity: 64 << 20, MaxAge: 5 * time.Minute},
		Retry: RetrySettings{InitialInterval: time.Millisecond, MaxInterval: 10 * time.Millisecond, Timeout: time.Second},
	})
	require.NoError(b, err)
	require.NoError(b, e.Start(b.Context()))
	w := &world{padding: 100}
	call, err := new(otlpcodec.Scratch).EncodeLogs(w.newRecords(0, 5), 0)
	require.NoError(b, err)
	for range (64 << 20) / 4096 {
		require.NoError(b, e.Accept(frame.Logs, nil, call))
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := e.Accept(frame.Logs, nil, call); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(e.ring.View().Held), "frames")
	require.NoError(b, e.Shutdown(b.Context()))
}
