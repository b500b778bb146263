package delivery

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// TestBodiesReadLate has a transport that goes on reading after it has answered.
func TestBodiesReadLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.gw.keep = true
		w.feed(5, time.Second, 20*time.Second)
		w.wait(5 * time.Second)
		require.Zero(t, w.logs().Held)
		require.Positive(t, w.e.Snapshot().Used, "what is read is not free")
		for _, done := range w.gw.late {
			done()
		}
		require.Zero(t, w.e.Snapshot().Used)
		w.gw.keep = false
		w.shutdown()
	})
}

func TestCallSeesAcksOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent, failed atomic.Int64
		w := newWorld(t, func(s *Settings) {
			s.Senders = 1
			s.Call = func(ctx context.Context, _ frame.Signal, items int64, do func(context.Context) error) error {
				err := do(ctx)
				if err == nil {
					sent.Add(items)
				} else {
					failed.Add(items)
				}
				return err
			}
		})
		w.feed(3, time.Second, 20*time.Second)
		w.gw.set(down)
		w.feed(3, time.Second, 10*time.Minute)
		w.shutdown()
		got := w.logs()
		require.Equal(t, got.Delivered, sent.Load())
		require.Positive(t, sent.Load())
		require.Positive(t, failed.Load())
	})
}
