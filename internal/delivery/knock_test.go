package delivery

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// An agent without new data, whose whole ring is leased to a flare that no bucket
// takes, had nothing left to probe with: the gateway came back and nobody saw it.
func TestQuietAgentSeesTheGatewayAgain(t *testing.T) {
	for name, kind := range map[string]bucket.Kind{"denied": bucket.Denied, "unknown": bucket.Unknown} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				w.gw.set(down)
				w.failPuts(bucket.BeforeEffect, kind)
				require.NoError(t, w.accept(4))
				w.wait(10 * time.Minute)
				v := w.e.ring.View()
				require.Positive(t, v.Flaring, "a flare holds everything")
				require.Zero(t, v.Held+v.Leased)
				tries := attempts(w.gw)
				w.wait(5 * time.Minute)
				require.Greater(t, attempts(w.gw), tries, "the gateway is probed all the same")
				require.Less(t, attempts(w.gw)-tries, 60, "by backoff")

				w.gw.set(up)
				w.wait(2 * time.Minute)
				require.Zero(t, w.logs().Held)
				require.Equal(t, int64(4), w.logs().Delivered)
				w.shutdown()
				w.nothingIsMissing()
			})
		})
	}
}

// Whatever a borrowed frame is answered, it stays with its flare, and the path
// backs off: a gateway that refuses its size must not be asked in a loop.
func TestBorrowedFrameStaysWithItsFlare(t *testing.T) {
	for _, verdict := range []otlpsend.Verdict{otlpsend.TooLarge, otlpsend.BadData, otlpsend.Broken} {
		t.Run(verdict.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				w.gw.set(down)
				w.failPuts(bucket.BeforeEffect, bucket.Denied)
				require.NoError(t, w.accept(4))
				w.wait(10 * time.Minute)
				require.Positive(t, w.e.ring.View().Flaring)

				w.gw.set(func(context.Context, *otlpsend.Request, int) (bool, otlpsend.Answer) {
					return false, otlpsend.Answer{Verdict: verdict, Cause: otlpsend.CauseClient, Err: errors.New("refused")}
				})
				tries := attempts(w.gw)
				w.wait(5 * time.Minute)
				require.Greater(t, attempts(w.gw), tries)
				require.Less(t, attempts(w.gw)-tries, 60)
				require.Equal(t, int64(4), w.logs().Held)
				w.heal()
				w.wait(15 * time.Minute)
				require.Equal(t, int64(4), sum(w.logs().Flared))
				w.shutdown()
			})
		})
	}
}

// The ack of a borrowed frame is an ack: it counts as sent, also when no sender
// ever had the frame.
func TestBorrowedAckCountsAsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent, calls atomic.Int64
		w := newWorld(t, func(s *Settings) {
			s.Frame.Linger = 0
			s.Call = func(ctx context.Context, _ frame.Signal, items int64, do func(context.Context) error) error {
				calls.Add(1)
				err := do(ctx)
				if err == nil {
					sent.Add(items)
				}
				return err
			}
		})
		w.gw.set(func(context.Context, *otlpsend.Request, int) (bool, otlpsend.Answer) {
			a := refusal
			a.RetryAfter = time.Hour // hence a minute: a fifth of max_age
			return false, a
		})
		require.NoError(t, w.accept(1)) // closes the gate
		w.wait(time.Second)
		w.e.startFlare(flare.Manual, !lastFlare)
		w.wait(time.Second)
		require.Equal(t, int64(1), w.logs().Flared[flare.Manual])

		w.failPuts(bucket.BeforeEffect, bucket.Denied)
		w.gw.set(up)
		require.NoError(t, w.accept(3))
		w.e.startFlare(flare.Manual, !lastFlare)
		w.wait(time.Second)
		require.Equal(t, 1, w.e.ring.View().Flaring, "a flare has what no sender had")
		require.Equal(t, int64(1), calls.Load())
		w.wait(time.Minute)
		require.Equal(t, int64(3), w.logs().Delivered)
		require.Equal(t, int64(3), sent.Load())
		require.Equal(t, int64(2), calls.Load(), "one call for the life of a frame")
		w.shutdown()
	})
}

func attempts(g *gateway) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.tries
}
