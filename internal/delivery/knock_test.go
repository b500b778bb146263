package delivery

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
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
				for _, b := range w.buckets {
					b.Fail("put", -1, bucket.BeforeEffect, &bucket.Error{Kind: kind})
				}
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
				missing, _ := w.verify()
				require.Zero(t, missing)
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
				for _, b := range w.buckets {
					b.Fail("put", -1, bucket.BeforeEffect, &bucket.Error{Kind: bucket.Denied})
				}
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
				for _, b := range w.buckets {
					b.Heal()
				}
				w.wait(15 * time.Minute)
				require.Equal(t, int64(4), sum(w.logs().Flared))
				w.shutdown()
			})
		})
	}
}

func attempts(g *gateway) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.tries
}
